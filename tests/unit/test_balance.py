from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.parallel.balance import (
    RankCost,
    fastest_shares,
    keep_or_change,
    proportional_shares,
    speed_up_ceiling,
    step_seconds,
)

COSTS = st.lists(
    st.builds(RankCost, st.floats(0.0, 5.0), st.floats(0.01, 3.0)), min_size=1, max_size=4
)


def every_division(total: int, parts: int) -> Iterator[list[int]]:
    if parts == 1:
        yield [total]
        return
    for first in range(total + 1):
        yield from ([first, *rest] for rest in every_division(total - first, parts - 1))


@given(COSTS, st.integers(1, 9))
def test_no_division_is_faster(costs: list[RankCost], batch: int) -> None:
    shares = fastest_shares(costs, batch)
    assert sum(shares) == batch
    best = min(step_seconds(costs, division) for division in every_division(batch, len(costs)))
    assert step_seconds(costs, shares) == pytest.approx(best)


@given(COSTS, st.integers(1, 9), st.lists(st.integers(1, 5), min_size=4, max_size=4))
def test_no_division_within_the_memory_is_faster(
    costs: list[RankCost], batch: int, caps: list[int]
) -> None:
    capped = [replace(cost, cap=cap) for cost, cap in zip(costs, caps, strict=False)]
    shares = fastest_shares(capped, batch)
    assert sum(shares) == batch
    fitting = [
        division
        for division in every_division(batch, len(costs))
        if all(share <= cap for share, cap in zip(division, caps, strict=False))
    ]
    if not fitting:  # More than all memory together: computed in pieces.
        assert shares == fastest_shares(costs, batch)
        return
    assert shares in fitting
    best = min(step_seconds(costs, division) for division in fitting)
    assert step_seconds(costs, shares) == pytest.approx(best)


def test_a_share_above_the_memory_is_changed_whatever_the_gain() -> None:
    costs = [RankCost(0.0, 0.1, cap=3), RankCost(0.0, 0.1)]
    assert keep_or_change(costs, [4, 4], 0.5) == [3, 5]


def test_equal_ranks_get_equal_shares() -> None:
    assert fastest_shares([RankCost(0.1, 0.02)] * 4, 16) == [4, 4, 4, 4]


def test_a_rank_whose_fixed_cost_is_longer_than_the_step_gets_nothing() -> None:
    assert fastest_shares([RankCost(0.0, 0.1), RankCost(5.0, 0.1)], 16) == [16, 0]


def test_fixed_costs_shift_the_shares_away_from_proportional() -> None:
    costs = [RankCost(0.5, 0.1), RankCost(0.5, 0.2)]
    assert proportional_shares([10, 5], 12) == [8, 4]
    assert fastest_shares(costs, 12) == [8, 4]
    uneven = [RankCost(0.1, 0.1), RankCost(0.6, 0.1)]
    assert proportional_shares([10, 10], 12) == [6, 6]
    assert fastest_shares(uneven, 12) == [9, 3]


@given(st.lists(st.floats(0.1, 9.0), min_size=1, max_size=6), st.integers(0, 50))
def test_proportional_shares_are_within_one_of_exact(speeds: list[float], batch: int) -> None:
    shares = proportional_shares(speeds, batch)
    assert sum(shares) == batch
    for share, speed in zip(shares, speeds, strict=True):
        assert abs(share - batch * speed / sum(speeds)) <= 1


def test_small_gains_change_nothing() -> None:
    costs = [RankCost(0.0, 0.10), RankCost(0.0, 0.11)]
    assert keep_or_change(costs, [8, 8], 0.1) == [8, 8]
    assert keep_or_change([RankCost(0.0, 0.1), RankCost(0.0, 0.3)], [8, 8], 0.1) == [12, 4]


def test_ceiling_and_bad_costs() -> None:
    assert speed_up_ceiling([RankCost(1, 1.0), RankCost(1, 2.0)]) == pytest.approx(1.5 / (2 * 0.5))
    with pytest.raises(ConfigError, match="positive time per sample"):
        fastest_shares([RankCost(1.0, 0.0)], 4)
