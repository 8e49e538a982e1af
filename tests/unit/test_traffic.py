"""What a rank sends, counted by hand."""

from __future__ import annotations

import pytest

from hvd_nowcast.compare import folder_name
from hvd_nowcast.parallel.traffic import NetworkSizes, placements, sent_per_step

SIZES = NetworkSizes(branches=(100, 60), shared=40, features=8)


def test_a_copy_on_every_rank_sends_its_gradients_around_the_ring() -> None:
    assert sent_per_step(SIZES, 2, 1, [], 6) == [4 * 200] * 2
    assert sent_per_step(SIZES, 4, 1, [], 6) == [4 * 200 * 2 * 3 / 4] * 4
    assert sent_per_step(SIZES, 1, 1, [], 6) == [0.0]


def test_branches_send_features_and_their_gradients() -> None:
    # Features of 6 samples, gradients of 2 branches for 3 samples, and the weights of the rest.
    assert sent_per_step(SIZES, 2, 2, [0, 1], 6) == [4 * (6 * 8 + 2 * 8 * 3 + 40)] * 2


def test_replicas_of_branches_send_gradients_between_their_owners() -> None:
    first, second, *others = sent_per_step(SIZES, 4, 2, [0, 1], 8)
    common = 4 * 8 + 2 * 8 * 2 + 40 * 2 * 3 / 4
    assert first == 4 * (common + 100)
    assert second == 4 * (common + 60)
    assert others == [first, second]


def test_the_rank_with_more_branches_sends_more() -> None:
    sizes = NetworkSizes((10, 10, 10), 5, 4)
    more, less = sent_per_step(sizes, 2, 2, [0, 0, 1], 4)
    assert more - less == pytest.approx(4 * 4 * 4)


def test_placements_divide_the_ranks() -> None:
    assert placements(2, 2) == {"data": 1, "branch": 2}
    assert placements(4, 2) == {"data": 1, "branch+data, 2 ranks each": 2}
    assert placements(4, 4) == {"data": 1, "branch+data, 2 ranks each": 2, "branch": 4}
    assert placements(3, 1) == {"data": 1}


def test_every_placement_has_a_folder_of_its_own() -> None:
    found = placements(8, 8)
    assert sorted(found.values()) == [1, 2, 4, 8]
    assert len({folder_name(name) for name in found}) == len(found)
