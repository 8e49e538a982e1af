from __future__ import annotations

import pytest

from hvd_nowcast.parallel.own_core import own_core


def test_ranks_that_fill_a_machine_take_a_core_each() -> None:
    allowed = [{7, 2, 5}] * 3
    assert [own_core(rank, allowed) for rank in range(3)] == [2, 5, 7]


@pytest.mark.parametrize(
    "allowed",
    [
        [{0, 1}],
        [{0, 1, 2, 3}] * 2,
        [{0, 1}] * 4,
        # As a launcher has placed them.
        [{0}, {1}],
        [{0, 1}, {2, 3}],
        [{0, 1}, {0, 2}],
    ],
)
def test_other_ranks_stay_as_they_are(allowed: list[set[int]]) -> None:
    assert [own_core(rank, allowed) for rank in range(len(allowed))] == [None] * len(allowed)
