"""Sections of a flood model."""

from __future__ import annotations

from dataclasses import dataclass, field

from hvd_nowcast.config.checks import choice, require
from hvd_nowcast.config.sections import PRECISIONS, BranchedSections

RECURRENT = ("lstm", "gru")
OUTPUTS = ("mean", "gaussian", "quantile")
TRANSFORMS = ("none", "square-root")


@dataclass(frozen=True)
class FloodDataSection:
    """Which watershed is read and how samples are cut from it.

    Attributes
    ----------
    shards
        Folder made by ``hvd-nowcast shards build --format watershed``.
    frames_in, frames_out
        Time steps of rain and discharge the model sees, and lead times it predicts.
    future_rain
        The model is given the rain of the lead times, in training the observed one and in
        operation a nowcast; without, it must do with the rain so far.
    gauges
        Their names; ``null`` takes all that the archive has.
    transform
        Of the discharge before it is scaled: ``none`` where floods matter most, ``square-root``
        where gauges of very different regimes share a model.
    """

    shards: str
    frames_in: int = 30
    frames_out: int = 7
    future_rain: bool = True
    gauges: tuple[str, ...] | None = None
    transform: str = "none"

    def __post_init__(self) -> None:
        """Check the values."""
        require(self.frames_in >= 1, "data.frames_in must be at least 1")
        require(self.frames_out >= 1, "data.frames_out must be at least 1")
        choice("data.transform", self.transform, TRANSFORMS)
        require(self.gauges is None or len(self.gauges) > 0, "data.gauges must be null or a list")


@dataclass(frozen=True)
class HydrologySection:
    """How fast water runs to the gauge, see `hvd_nowcast.hydrology.travel_time.velocity`.

    Attributes
    ----------
    mean_velocity
        m/s, over the network.
    slope_exponent, area_exponent
        Powers of slope and upstream area.
    least_velocity, largest_velocity
        Limits in m/s.
    """

    mean_velocity: float = 0.5
    slope_exponent: float = 0.3
    area_exponent: float = 0.3
    least_velocity: float = 0.05
    largest_velocity: float = 3.0

    def __post_init__(self) -> None:
        """Check the values."""
        require(
            0 < self.least_velocity <= self.mean_velocity <= self.largest_velocity,
            "hydrology: expected 0 < least_velocity <= mean_velocity <= largest_velocity",
        )


@dataclass(frozen=True)
class FloodModelSection:
    """The domain-aware network: pixel contributions, convolution heads, a recurrent block.

    Attributes
    ----------
    contribution
        Weigh pixels by their contribution to the gauge, delay them by their travel time, and give
        each head its own class of travel times. Without, every head sees the plain rain grid.
    learn_contribution
        Let training correct the weight of a pixel from its delay and weight.
    heads
        Convolution heads, as many as classes of travel time. With 0 the recurrent block sees the
        mean rain over the area and nothing else: the usual LSTM, to compare with.
    filters
        Filters of each convolution of a head.
    recurrent
        ``lstm`` or ``gru``.
    units
        Its width.
    output
        ``mean``: one discharge per lead time; ``gaussian``: with a standard deviation; or
        ``quantile``: at ``quantiles``.
    quantiles
        Rising, in (0, 1), with the median.
    precision
        ``float32``, or ``float64`` for proofs.
    """

    contribution: bool = True
    learn_contribution: bool = True
    heads: int = 4
    filters: tuple[int, ...] = (8, 8)
    recurrent: str = "lstm"
    units: int = 64
    output: str = "mean"
    quantiles: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95)
    precision: str = "float32"

    def __post_init__(self) -> None:
        """Check the values."""
        require(self.heads >= 0, "model.heads must not be negative")
        require(
            self.units >= 1 and min(self.filters, default=0) >= 1,
            "model.units and model.filters must be positive",
        )
        choice("model.recurrent", self.recurrent, RECURRENT)
        choice("model.output", self.output, OUTPUTS)
        choice("model.precision", self.precision, PRECISIONS)
        levels = self.quantiles
        require(
            list(levels) == sorted(set(levels))
            and 0.5 in levels
            and 0 < min(levels)
            and max(levels) < 1,
            "model.quantiles must rise from above 0 to below 1 and hold 0.5",
        )


@dataclass(frozen=True)
class FloodConfig(BranchedSections):
    """The whole configuration of a flood model."""

    data: FloodDataSection
    hydrology: HydrologySection = field(default_factory=HydrologySection)
    model: FloodModelSection = field(default_factory=FloodModelSection)
    task: str = "flood"
