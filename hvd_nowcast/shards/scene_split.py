"""Which labelled pixels of a scene are for training, validation and test: by place.

Land cover is alike in neighbouring pixels, so whole blocks, or whole polygons of a sparse map, go
to one split. Each split gets its share of every class as nearly as whole groups allow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.optional import import_optional
from hvd_nowcast.shards.split import SPLITS, SplitRule

# Blocks along the shorter side of a scene, and their least side in pixels.
BLOCKS = 12
LEAST_BLOCK = 16
# A map with fewer labelled pixels consists of polygons.
SPARSE = 0.5


def split_by_place(labels: NDArray[np.uint8], rule: SplitRule, seed: int = 0) -> NDArray[np.uint8]:
    """Number of the split of each labelled pixel from 1, 0 elsewhere, shape (y, x).

    Parameters
    ----------
    labels
        Class numbers, 0 where not labelled, shape (y, x).
    rule
        Shares of the splits.
    seed
        Breaks ties.

    Raises
    ------
    ConfigError
        When the rule is of dates.
    """
    if rule.fractions is None:
        raise ConfigError("--split: a scene has no dates, give train=0.6,validation=0.2,test=0.2")
    sparse = (labels > 0).mean() < SPARSE
    groups = _polygons(labels) if sparse else _blocks(labels.shape)
    shares = np.array([rule.fractions.get(name, 0.0) for name in SPLITS])
    chosen = divide_groups(_counts(groups, labels), shares, seed)
    return np.where(labels > 0, chosen[groups], 0).astype(np.uint8)


def divide_groups(
    counts: NDArray[np.int64], shares: NDArray[np.float64], seed: int
) -> NDArray[np.int64]:
    """Split of each group from 1, 0 where it falls to none.

    Iterative stratification (Sechidis et al. 2011, doi:10.1007/978-3-642-23808-6_10): groups with
    the rarest classes first, each to the split that lacks most of what it holds.

    Parameters
    ----------
    counts
        Pixels of each class in each group, shape (groups, classes).
    shares
        Wanted share of each split; what is left to 1 is not used.
    seed
        Breaks ties.
    """
    wanted = np.append(shares, max(0.0, 1.0 - shares.sum()))
    part = counts / np.maximum(counts.sum(0), 1)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-part[order].max(1), kind="stable")]
    lacking = np.repeat(wanted[:, None], counts.shape[1], 1)
    chosen = np.zeros(len(counts), np.int64)
    for group in order:
        split = int(np.argmax(lacking @ part[group]))
        lacking[split] -= part[group]
        chosen[group] = (split + 1) % (len(shares) + 1)
    return chosen


def _counts(groups: NDArray[np.int64], labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    counts = np.zeros((int(groups.max()) + 1, int(labels.max()) + 1), np.int64)
    np.add.at(counts, (groups.ravel(), labels.ravel()), 1)
    return counts[:, 1:]


def _blocks(shape: tuple[int, ...]) -> NDArray[np.int64]:
    side = max(LEAST_BLOCK, min(shape) // BLOCKS)
    rows, columns = (np.arange(size) // side for size in shape)
    return rows[:, None] * (int(columns[-1]) + 1) + columns[None, :]


def _polygons(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Connected pixels of any class."""
    purpose = "polygons of labels need SciPy"
    image = import_optional("scipy.ndimage", purpose, "'hvd_nowcast[landcover]'")
    groups, _ = image.label(labels > 0, np.ones((3, 3)))
    return np.asarray(groups, np.int64)
