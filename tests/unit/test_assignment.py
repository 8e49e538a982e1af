from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvd_nowcast.loader.assignment import (
    SampleOrder,
    epoch_order,
    equal_shares,
    rank_slice,
    spread_evenly,
)


@given(st.integers(1, 200), st.integers(0, 5), st.integers(0, 5))
def test_equal_weights_draw_every_window_once(windows: int, seed: int, epoch: int) -> None:
    order = epoch_order(np.ones(windows), seed, epoch)
    assert sorted(order) == list(range(windows))


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=60), st.integers(0, 5), st.integers(0, 5))
def test_draws_are_the_expected_number_rounded(weights: list[float], seed: int, epoch: int) -> None:
    array = np.array(weights)
    drawn = np.bincount(epoch_order(array, seed, epoch), minlength=len(array))
    expected = len(array) * array / array.sum()
    assert drawn.sum() == len(array)
    assert (np.abs(drawn - expected) < 1 + 1e-9).all()


def test_order_depends_on_seed_and_epoch_only() -> None:
    weights = np.ones(50)
    first = epoch_order(weights, 1, 2)
    assert (first == epoch_order(weights, 1, 2)).all()
    assert (first != epoch_order(weights, 1, 3)).any()
    assert (first != epoch_order(weights, 2, 2)).any()


@pytest.mark.parametrize("global_batch", [1, 3, 7, 25])
def test_batches_are_the_stream_of_epochs_cut_in_pieces(global_batch: int) -> None:
    weights = np.ones(10)
    stream = np.concatenate([epoch_order(weights, 4, epoch) for epoch in range(12)])
    order = SampleOrder(weights, 4)
    for step in range(4):
        expected = stream[step * global_batch : (step + 1) * global_batch]
        assert (order.batch(global_batch, step) == expected).all()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 13), st.integers(0, 3))
def test_locality_draws_the_same_windows_from_few_shards_at_a_time(
    sizes: list[int], locality: int, seed: int
) -> None:
    shards = np.repeat(np.arange(len(sizes)), sizes)
    order = epoch_order(np.ones(len(shards)), seed, 0, shards, locality)
    assert sorted(order) == list(range(len(shards)))
    changes = np.flatnonzero(np.diff(shards[order])) + 1
    visits = np.split(shards[order], changes)
    # A shard's first and last visit lie inside the turn of its group.
    place = {shard: np.flatnonzero(shards[order] == shard) for shard in range(len(sizes))}
    for where in place.values():
        between = set(shards[order][where[0] : where[-1] + 1])
        assert len(between) <= locality
    assert len(visits) >= len(sizes)


@given(st.integers(0, 40), st.integers(1, 9))
def test_equal_shares_add_up_and_differ_by_one(global_batch: int, ranks: int) -> None:
    shares = equal_shares(global_batch, ranks)
    assert sum(shares) == global_batch
    assert max(shares) - min(shares) <= 1


@given(st.lists(st.integers(0, 9), min_size=1, max_size=7))
def test_rank_slices_tile_the_global_batch(shares: list[int]) -> None:
    taken = [range(sum(shares))[rank_slice(shares, rank)] for rank in range(len(shares))]
    assert [sample for part in taken for sample in part] == list(range(sum(shares)))
    assert [len(part) for part in taken] == shares


@given(st.integers(1, 500), st.integers(1, 60))
def test_spread_evenly_covers_both_ends(count: int, limit: int) -> None:
    chosen = spread_evenly(count, limit)
    assert len(chosen) == min(count, limit)
    assert chosen[0] == 0
    assert limit == 1 or chosen[-1] == count - 1
