"""Which sample comes when, and on which rank: plain numbers, no files.

The order of samples is a function of the seed and the epoch alone, and step ``k`` takes the
samples ``[k B, (k + 1) B)`` of the endless stream of epochs. So every number of ranks sees the
same global batches, every rank makes the same number of steps, an archive smaller than a batch is
no special case, and a resume needs one integer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def epoch_order(weights: NDArray[np.floating[Any]], seed: int, epoch: int) -> NDArray[np.int64]:
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

    Returns
    -------
    numpy.ndarray
        Window numbers, shape ``(windows,)``.
    """
    generator = np.random.default_rng((seed, epoch))
    shares = np.cumsum(weights, dtype=np.float64)
    # The offset stays clear of 0 and 1, where rounding could draw a neighbour twice.
    offset = generator.uniform(0.25, 0.75)
    positions = (np.arange(len(weights)) + offset) * (shares[-1] / len(weights))
    drawn = np.searchsorted(shares, positions).clip(max=len(weights) - 1)
    return generator.permutation(drawn)


def batch_windows(
    weights: NDArray[np.floating[Any]], seed: int, global_batch: int, step: int
) -> NDArray[np.int64]:
    """Windows of the global batch of one step, shape ``(global_batch,)``."""
    samples = step * global_batch + np.arange(global_batch)
    epochs, places = np.divmod(samples, len(weights))
    orders = {epoch: epoch_order(weights, seed, int(epoch)) for epoch in np.unique(epochs)}
    return np.array(
        [orders[epoch][place] for epoch, place in zip(epochs, places, strict=True)], dtype=np.int64
    )


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
