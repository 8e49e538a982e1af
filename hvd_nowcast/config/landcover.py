"""Sections of a land-cover model."""

from __future__ import annotations

from dataclasses import dataclass, field

from hvd_nowcast.config.checks import choice, require
from hvd_nowcast.config.sections import PRECISIONS, BranchedSections

FUSIONS = ("early", "middle", "late")
CLASS_WEIGHTS = ("none", "square-root", "balanced")


@dataclass(frozen=True)
class LandcoverDataSection:
    """Which scene is read and how samples are cut from it.

    Attributes
    ----------
    shards
        Folder made by ``hvd-nowcast shards build --format scene``.
    modalities
        Their names; ``null`` takes all that the scene has.
    patch
        Side in pixels of the square around a labelled pixel whose labels are learnt from.
    modality_dropout
        Share of samples in which one modality is hidden, so that the model copes without it.
    flips
        Mirror and transpose training samples at random.
    """

    shards: str
    modalities: tuple[str, ...] | None = None
    patch: int = 8
    modality_dropout: float = 0.1
    flips: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        require(self.patch >= 1, "data.patch must be at least 1")
        require(0 <= self.modality_dropout < 1, "data.modality_dropout must be in [0, 1)")
        named = self.modalities
        require(named is None or len(named) > 0, "data.modalities must be null or a list")


@dataclass(frozen=True)
class LandcoverModelSection:
    """One convolution branch per modality, and a head that joins them.

    Attributes
    ----------
    fusion
        ``early``: all bands enter one branch; ``middle``: features of all branches are joined;
        ``late``: every branch gives its own class scores, which are added.
    filters
        Filters of each 3 x 3 convolution of a branch; each widens what a pixel sees by one ring.
    features
        Features a branch gives per pixel.
    head
        Units of the layer that joins them.
    precision
        ``float32``, ``mixed_bfloat16``, or ``float64`` for proofs.
    """

    fusion: str = "middle"
    filters: tuple[int, ...] = (32, 32, 32)
    features: int = 32
    head: int = 64
    precision: str = "float32"

    def __post_init__(self) -> None:
        """Check the values."""
        choice("model.fusion", self.fusion, FUSIONS)
        choice("model.precision", self.precision, PRECISIONS)
        require(
            len(self.filters) >= 1 and min(*self.filters, self.features, self.head) >= 1,
            "model.filters, model.features and model.head must be positive",
        )

    @property
    def margin(self) -> int:
        """Rings of pixels around a pixel that its class depends on."""
        return len(self.filters)


@dataclass(frozen=True)
class LandcoverLossSection:
    """Cross-entropy over labelled pixels.

    Attributes
    ----------
    class_weight
        ``none``; ``balanced``, each class counts alike; or ``square-root``, in between.
    """

    class_weight: str = "square-root"

    def __post_init__(self) -> None:
        """Check the values."""
        choice("loss.class_weight", self.class_weight, CLASS_WEIGHTS)


@dataclass(frozen=True)
class LandcoverConfig(BranchedSections):
    """The whole configuration of a land-cover model."""

    data: LandcoverDataSection
    model: LandcoverModelSection = field(default_factory=LandcoverModelSection)
    loss: LandcoverLossSection = field(default_factory=LandcoverLossSection)
    task: str = "landcover"

    def __post_init__(self) -> None:
        """Check what concerns several sections."""
        super().__post_init__()
        require(
            self.branches.ranks_per_replica == 1 or self.model.fusion != "early",
            "model.fusion early has a single branch: branches.ranks_per_replica must be 1",
        )
