"""Sections of many models over space: how it is cut, and who learns from whom."""

from __future__ import annotations

from dataclasses import dataclass, field

from hvd_nowcast.config.checks import choice, require

CUTS = ("grid", "quadtree", "polygons", "gauges")
SCHEMES = ("scratch", "global", "nearest", "similar", "aligned")


@dataclass(frozen=True)
class CutSection:
    """How space is cut into regions.

    Attributes
    ----------
    kind
        ``grid``; ``quadtree``, which cuts finer where there is more data; ``polygons``; or
        ``gauges``, the basins of a watershed.
    rows, columns
        Of a grid.
    most
        A quadtree cuts a square that holds more than this share of the data.
    least_side
        But none to sides below this, in pixels.
    polygons
        GeoJSON file of polygons in the coordinates of the grid, metres; a feature's ``name`` is
        that of the region.
    """

    kind: str = "grid"
    rows: int = 4
    columns: int = 4
    most: float = 0.1
    least_side: int = 32
    polygons: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        choice("cut.kind", self.kind, CUTS)
        require(min(self.rows, self.columns) >= 1, "cut.rows and cut.columns must be at least 1")
        require(0 < self.most <= 1, "cut.most must be in (0, 1]")
        require(self.least_side >= 1, "cut.least_side must be at least 1 pixel")
        require(
            (self.kind == "polygons") == (self.polygons is not None),
            "cut.polygons belongs to kind polygons: give both or neither",
        )


@dataclass(frozen=True)
class SimilaritySection:
    """Which regions are alike.

    Attributes
    ----------
    sources
        Clusters of regions; the middle region of each is the source of the others.
    block_hours
        Time is compared in blocks of this length for the aligned scheme.
    """

    sources: int = 3
    block_hours: float = 6.0

    def __post_init__(self) -> None:
        """Check the values."""
        require(self.sources >= 1, "similarity.sources must be at least 1")
        require(self.block_hours > 0, "similarity.block_hours must be positive")


@dataclass(frozen=True)
class TransferSection:
    """How a region learns from its source.

    Attributes
    ----------
    scheme
        Used by ``regions fit``. ``scratch``: from random weights; ``global``: from one model of
        the whole domain; ``nearest``: from the source nearest in space; ``similar``: from the most
        similar one; ``aligned``: from the most similar one, trained on the time alone in which it
        saw the same regime as those that learn from it.
    freeze
        Layers that keep the weights of the source, by the beginning of their names.
    learning_rate, warmup_steps, steps, validate_every, patience
        Of the fine-tuning, in place of those of the base.
    aligned_share
        Share of the time that the source of the aligned scheme is trained on.
    """

    scheme: str = "similar"
    freeze: tuple[str, ...] = ()
    learning_rate: float = 5e-4
    warmup_steps: int = 5
    steps: int = 60
    validate_every: int = 10
    patience: int = 2
    aligned_share: float = 0.5

    def __post_init__(self) -> None:
        """Check the values."""
        choice("transfer.scheme", self.scheme, SCHEMES)
        require(self.learning_rate > 0, "transfer.learning_rate must be positive")
        require(self.warmup_steps >= 0, "transfer.warmup_steps must not be negative")
        for name in ("steps", "validate_every", "patience"):
            require(getattr(self, name) >= 1, f"transfer.{name} must be at least 1")
        require(0 < self.aligned_share <= 1, "transfer.aligned_share must be in (0, 1]")


@dataclass(frozen=True)
class RegionsConfig:
    """Many models over space.

    Attributes
    ----------
    base
        Configuration file of one model, relative to the working directory.
    overrides
        ``section.key=value`` for it.
    cut, similarity, transfer
        See the sections.
    test_samples
        Largest number of test samples that a region is scored on.
    """

    base: str
    overrides: tuple[str, ...] = ()
    cut: CutSection = field(default_factory=CutSection)
    similarity: SimilaritySection = field(default_factory=SimilaritySection)
    transfer: TransferSection = field(default_factory=TransferSection)
    test_samples: int = 100

    def __post_init__(self) -> None:
        """Check the values."""
        require(self.test_samples >= 1, "test_samples must be at least 1")
