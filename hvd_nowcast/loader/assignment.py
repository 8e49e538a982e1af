"""Which sample comes when, and on which rank: plain numbers, no files.

The order of samples is a function of the seed and the epoch alone, and step ``k`` takes the
samples ``[k B, (k + 1) B)`` of the endless stream of epochs. So every number of ranks sees the
same global batches, every rank makes the same number of steps, an archive smaller than a batch is
no special case, and a resume needs one integer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


def epoch_order(
    weights: NDArray[np.floating[Any]],
    seed: int,
    epoch: int,
    shards: NDArray[np.integer[Any]] | None = None,
    locality: int = 0,
) -> NDArray[np.int64]:
    """Order in which the windows of an archive are drawn in one epoch.

    An epoch has as many draws as windows. Each window is drawn ``n w / sum(w)`` times, rounded
    down or up by systematic resampling (Kitagawa 1996, doi:10.2307/1390750), so equal weights
    draw every window exactly once.

    Parameters
    ----------
    weights
        Positive weight of each window, shape ``(windows,)``.
    seed, epoch
        All the randomness there is.
    shards, locality
        With the shard of each window and a number, the shards are shuffled, and the windows are
        shuffled only inside that many shards at a time.

    Returns
    -------
    numpy.ndarray
        Window numbers, shape ``(windows,)``.
    """
    generator = np.random.default_rng((seed, epoch))
    shares = np.cumsum(weights, dtype=np.float64)
    # Of equal windows rounding near 0 or 1 could draw a neighbour twice; of others those of a small
    # weight come only there.
    margin = 0.25 if np.ptp(weights) == 0 else 0.0
    offset = generator.uniform(margin, 1 - margin)
    positions = (np.arange(len(weights)) + offset) * (shares[-1] / len(weights))
    drawn = np.searchsorted(shares, positions).clip(max=len(weights) - 1)
    order = generator.permutation(drawn)
    if shards is None or not locality:
        return order
    turn = generator.permutation(int(shards.max()) + 1)
    return order[np.argsort(turn[shards[order]] // locality, kind="stable")]


class SampleOrder:
    """The endless stream of epochs, cut into global batches.

    Parameters
    ----------
    weights, seed, shards, locality
        As in `epoch_order`.
    """

    def __init__(
        self,
        weights: NDArray[np.floating[Any]],
        seed: int,
        shards: NDArray[np.integer[Any]] | None = None,
        locality: int = 0,
    ) -> None:
        self._windows = len(weights)

        @lru_cache(maxsize=4)
        def order(epoch: int) -> NDArray[np.int64]:
            return epoch_order(weights, seed, epoch, shards, locality)

        self._order = order

    def batch(self, global_batch: int, step: int) -> NDArray[np.int64]:
        """Windows of the global batch of one step, shape ``(global_batch,)``."""
        samples = step * global_batch + np.arange(global_batch)
        epochs, places = np.divmod(samples, self._windows)
        windows = [self._order(int(e))[p] for e, p in zip(epochs, places, strict=True)]
        return np.array(windows, np.int64)


def equal_shares(global_batch: int, ranks: int) -> list[int]:
    """Samples per rank that differ by one at most; some are 0 with more ranks than samples."""
    return [global_batch // ranks + (rank < global_batch % ranks) for rank in range(ranks)]


def rank_part(count: int, limit: int, rank: int, ranks: int) -> list[int]:
    """Numbers of one rank out of at most ``limit`` spread evenly over ``range(count)``."""
    numbers = spread_evenly(count, limit)
    part: list[int] = numbers[rank_slice(equal_shares(len(numbers), ranks), rank)].tolist()
    return part


def rank_slice(shares: Sequence[int], rank: int) -> slice:
    """Part of the global batch that one rank takes.

    Parameters
    ----------
    shares
        Samples per rank; their sum is the global batch, and a share may be 0.
    rank
        Which of them.
    """
    start = sum(shares[:rank])
    return slice(start, start + shares[rank])


def spread_evenly(count: int, limit: int) -> NDArray[np.int64]:
    """At most ``limit`` of ``count`` numbers, evenly spread and always the same."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(np.int64))
