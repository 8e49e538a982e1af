"""What a rank sends, counted by hand."""

from __future__ import annotations

from hvd_nowcast.compare import folder_name
from hvd_nowcast.parallel.traffic import WHOLE, NetworkSizes, Placement, placements, sent_per_step

SIZES = NetworkSizes(branches=(100, 60), shared=10, head=30, features=8)
SPREAD, LAYERS = Placement("branch", 2), Placement("layer", 2, head_alone=True)


def test_a_copy_on_every_rank_sends_its_gradients_around_the_ring() -> None:
    assert sent_per_step(SIZES, 2, WHOLE, [], 6) == [4 * 200] * 2
    assert sent_per_step(SIZES, 4, WHOLE, [], 6) == [4 * 200 * 2 * 3 / 4] * 4
    assert sent_per_step(SIZES, 1, WHOLE, [], 6) == [0.0]


def test_branches_send_features_and_their_gradients() -> None:
    # Features of 3 samples, gradients of the other branch for 3 samples, and the common weights.
    assert sent_per_step(SIZES, 2, SPREAD, [0, 1], 6) == [4 * (3 * 8 + 3 * 8 + 40)] * 2


def test_a_head_alone_takes_all_features_and_gives_all_gradients() -> None:
    # Weights of the head stay where they are; those that branches share travel.
    assert sent_per_step(SIZES, 2, LAYERS, [0, 0], 6) == [4 * (2 * 6 * 8 + 10)] * 2


def test_replicas_of_branches_send_gradients_between_their_owners() -> None:
    first, second, *others = sent_per_step(SIZES, 4, SPREAD, [0, 1], 8)
    common = 2 * 8 + 2 * 8 + 40 * 2 * 3 / 4
    assert first == 4 * (common + 100)
    assert second == 4 * (common + 60)
    assert others == [first, second]


def test_replicas_of_layers_send_gradients_between_their_owners() -> None:
    branches, head, *others = sent_per_step(SIZES, 4, LAYERS, [0, 0], 8)
    common = 2 * 4 * 8 + 10 * 2 * 3 / 4
    assert branches == 4 * (common + 160)
    assert head == 4 * (common + 30)
    assert others == [branches, head]


def test_each_rank_sends_what_others_carry_or_computed() -> None:
    sizes = NetworkSizes((10, 10, 10), 5, 0, 4)
    two, one = sent_per_step(sizes, 2, SPREAD, [0, 0, 1], 4)
    assert two == 4 * (2 * 2 * 4 + 1 * 2 * 4 + 5)
    assert one == 4 * (1 * 2 * 4 + 2 * 2 * 4 + 5)


def test_placements_divide_the_ranks() -> None:
    def widths(ranks: int, branches: int) -> dict[str, int]:
        return {placement.name: placement.width for placement in placements(ranks, branches)}

    assert widths(2, 2) == {"data": 1, "branch": 2, "layer": 2}
    assert widths(3, 2) == {"data": 1, "layer": 3}
    assert widths(3, 1) == {"data": 1}
    copies = {"branch+data, 2 ranks each": 2, "layer+data, 2 ranks each": 2}
    assert widths(4, 2) == {"data": 1, **copies}
    assert widths(4, 4) == {"data": 1, **copies, "branch": 4, "layer": 4}


def test_every_placement_has_a_folder_of_its_own() -> None:
    found = placements(8, 8)
    assert sorted(p.width for p in found) == [1, 2, 2, 4, 4, 8, 8]
    assert len({folder_name(p.name) for p in found}) == len(found)
