"""Which regions are alike: scaled distances, clusters, and the middle of each as a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.optional import import_optional

Array = NDArray[np.float64]
LINKAGE = "complete"


@dataclass(frozen=True)
class Description:
    """What the data at hand tell of a region.

    Attributes
    ----------
    position
        Centre in km, south and east of the domain's corner.
    features
        Descriptors by name; NaN where they cannot be told.
    regime
        What went on in each block of time, shape (blocks, features); empty without a time axis.
    block_starts
        ISO times of the beginnings of the blocks.
    problem
        Why nothing can be learnt here, or None.
    """

    position: tuple[float, float]
    features: Mapping[str, float]
    regime: Array = field(default_factory=lambda: np.zeros((0, 0)))
    block_starts: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Clusters:
    """Regions in groups.

    Attributes
    ----------
    label
        Group of each region, shape (regions,).
    source
        Number of the region in the middle of each region's group, shape (regions,).
    """

    label: NDArray[np.int64]
    source: NDArray[np.int64]

    @property
    def sources(self) -> list[int]:
        """Numbers of all sources, rising."""
        return sorted(set(self.source.tolist()))


def feature_distances(descriptions: Sequence[Description]) -> Array:
    """Root mean square difference of the standardised features of each pair, shape (n, n).

    A feature that is the same everywhere, or not known somewhere, tells nothing there.
    """
    names = list(descriptions[0].features) if descriptions else []
    table = np.array([[d.features[name] for name in names] for d in descriptions], np.float64)
    return _distances(table.reshape(len(descriptions), len(names)))


def space_distances(descriptions: Sequence[Description]) -> Array:
    """Distance of the centres of each pair in km, shape (n, n)."""
    place = np.array([d.position for d in descriptions], np.float64).reshape(-1, 2)
    return np.sqrt(((place[:, None] - place[None]) ** 2).sum(-1))


def _distances(table: Array) -> Array:
    known = np.isfinite(table)
    filled = np.where(known, table, 0.0)
    count = np.maximum(known.sum(0), 1)
    mean = filled.sum(0) / count
    spread = np.sqrt((np.where(known, table - mean, 0.0) ** 2).sum(0) / count)
    # Below rounding, a spread is none.
    there = spread > 1e-9 * np.maximum(np.abs(mean), 1e-300)
    scaled = np.where(known, table - mean, 0.0)[:, there] / spread[there]
    square = ((scaled[:, None] - scaled[None]) ** 2).sum(-1)
    return np.sqrt(square / max(1, int(there.sum())))


def find_clusters(distance: Array, count: int) -> Clusters:
    """Cut regions into clusters by complete linkage, each with its medoid as the source.

    Regions at no distance from each other are never parted, so there may be fewer clusters.

    Parameters
    ----------
    distance
        Of each pair, shape (n, n).
    count
        Clusters wanted.

    Raises
    ------
    MissingDependencyError
        Without scikit-learn.

    References
    ----------
    Kaufman and Rousseeuw 1990, Finding groups in data.
    """
    regions = len(distance)
    different = len({row.tobytes() for row in distance < 1e-9})
    count = min(count, different)
    if count <= 1 or regions < 2:
        label = np.zeros(regions, np.int64)
    else:
        cluster = import_optional(
            "sklearn.cluster", "clusters of regions need scikit-learn", "'scikit-learn>=1.5'"
        )
        grouping = cluster.AgglomerativeClustering(
            n_clusters=count, metric="precomputed", linkage=LINKAGE
        )
        label = np.asarray(grouping.fit_predict(distance), np.int64)
    return Clusters(label, _medoids(distance, label))


def _medoids(distance: Array, label: NDArray[np.int64]) -> NDArray[np.int64]:
    source = np.zeros(len(label), np.int64)
    for group in np.unique(label):
        members = np.flatnonzero(label == group)
        inside = distance[np.ix_(members, members)].sum(1)
        source[members] = members[inside.argmin()]
    return source


def aligned_blocks(source: Array, others: Sequence[Array], share: float) -> NDArray[np.bool_]:
    """Blocks of time in which a source saw the regime of those that learn from it.

    The regimes of a block are compared by the dissimilarity of Bray and Curtis (1957,
    doi:10.2307/1942268), 0 where they are the same and 1 where they share nothing; two dry days
    share nothing, because there is nothing to learn from them. The most similar share of the
    blocks is taken, and at least one.

    Parameters
    ----------
    source
        Regime of the source, not negative, shape (blocks, features).
    others
        Of those that learn from it.
    share
        Of the blocks, in (0, 1].
    """
    if not len(source) or not others:
        return np.ones(len(source), bool)
    every = np.nan_to_num(np.stack([source, *others]))
    mean = every.mean((0, 1))
    scaled = every / np.where(mean > 0, mean, 1.0)
    apart = np.abs(scaled[1:] - scaled[0]).sum(-1)
    together = (scaled[1:] + scaled[0]).sum(-1)
    unlike = np.divide(apart, together, out=np.ones_like(apart), where=together > 0).mean(0)
    chosen = np.zeros(len(source), bool)
    chosen[np.argsort(unlike, kind="stable")[: max(1, round(share * len(source)))]] = True
    return chosen
