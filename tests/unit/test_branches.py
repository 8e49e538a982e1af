"""Placement of branches, proven against every placement there is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.parallel import layout as layouts
from hvd_nowcast.parallel.layout import ReplicaLayout, place_branches

COSTS = st.lists(st.floats(0.1, 9.0), min_size=3, max_size=5)
SPEEDS = st.lists(st.floats(0.2, 4.0), min_size=1, max_size=3)


def end(costs: list[float], speeds: list[float], owners: list[int]) -> float:
    loads = [
        sum(c for c, o in zip(costs, owners, strict=True) if o == r) / speed
        for r, speed in enumerate(speeds)
    ]
    return max(loads)


@given(COSTS, SPEEDS)
def test_no_placement_ends_earlier_and_no_rank_is_idle(
    costs: list[float], speeds: list[float]
) -> None:
    owners = place_branches(costs, speeds)
    assert set(owners) == set(range(len(speeds)))
    every = itertools.product(range(len(speeds)), repeat=len(costs))
    best = min(end(costs, speeds, list(o)) for o in every if len(set(o)) == len(speeds))
    assert end(costs, speeds, owners) == pytest.approx(best)


@given(COSTS, SPEEDS)
def test_many_branches_are_placed_nearly_as_well(costs: list[float], speeds: list[float]) -> None:
    before = layouts.MOST_PLACEMENTS
    exact = place_branches(costs, speeds)
    try:
        layouts.MOST_PLACEMENTS = 0
        owners = place_branches(costs, speeds)
    finally:
        layouts.MOST_PLACEMENTS = before
    assert set(owners) == set(range(len(speeds)))
    # Proven bound of the rule on ranks of unequal speed, with one branch forced onto each.
    assert end(costs, speeds, owners) <= 3 * end(costs, speeds, exact)


def test_more_ranks_than_branches_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="leaves 3 ranks for branches, but the network has only 2"
    ):
        place_branches([1.0, 1.0], [1.0] * 3)


def test_layout_of_replicas() -> None:
    layout = ReplicaLayout(rank=3, size=4, width=2)
    assert (layout.replica, layout.replicas, layout.position) == (1, 2, 1)
    assert layout.inside == [[0, 1], [2, 3]]
    assert layout.across == [[0, 2], [1, 3]]
    assert layout.batch_part([3, 2, 2, 1]) == slice(5, 8)
    with pytest.raises(ConfigError, match="is 3, which does not divide 4 ranks"):
        ReplicaLayout(0, 4, 3)


@given(st.integers(1, 6), st.integers(0, 40), st.booleans())
def test_every_sample_is_carried_once(width: int, samples: int, head_alone: bool) -> None:
    layout = ReplicaLayout(0, width, width, head_alone)
    carried = [layout.carried(place, samples) for place in range(width)]
    assert [n for start, stop in carried for n in range(start, stop)] == list(range(samples))
    if head_alone:
        assert carried[-1] == (0, samples)
        assert len(layout.branch_places) == width - 1
