"""Sections of a nowcast."""

from __future__ import annotations

from dataclasses import dataclass, field

from hvd_nowcast.config.checks import choice, require
from hvd_nowcast.config.sections import PRECISIONS, Sections

NORMALISATIONS = ("none", "group", "layer")
ACTIVATIONS = ("relu", "silu", "gelu")
ERRORS = ("mse", "mae", "crps")


@dataclass(frozen=True)
class SyntheticSection:
    """Made-up moving rain instead of radar files, for tests and scaling runs.

    Attributes
    ----------
    frames, height, width
        Size of the archive: number of frames, rows and columns.
    seed
        The same seed gives the same rain.
    """

    frames: int = 240
    height: int = 64
    width: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        require(
            min(self.frames, self.height, self.width) > 0,
            "data.synthetic: frames, height and width must be positive",
        )


@dataclass(frozen=True)
class DataSection:
    """Which frames are read and how samples are cut from them.

    Attributes
    ----------
    shards
        Folder made by ``hvd-nowcast shards build``, relative to the working directory; or a list
        of such folders, of one quantity, which are brought to the pixel size of the first.
    synthetic
        Used instead of ``shards``: an archive built into the run folder.
    frames_in, frames_out
        Frames the model sees and frames it predicts.
    crop
        Side of the square cut from a training sample in pixels; ``null`` takes the whole frame.
    flips
        Mirror and transpose training samples at random.
    locality
        How many shards the samples of a while come from: the shards are shuffled, then the
        windows of this many at a time. 0 shuffles all windows of the archive at once. The order
        is the same for any number of ranks.
    wet_bias
        How much more often a rainy window is drawn: one with a fifth of its pixels wet, or more,
        comes ``1 + wet_bias`` times as often as a dry one. 0 draws every window once per epoch.
        Of several archives the larger frames are drawn more often, in proportion to their pixels.
    zoom
        Training squares are taken of a side between ``crop / zoom`` and ``crop * zoom`` pixels and
        resampled to ``crop``, so that rain of other sizes and speeds is seen. 1 does nothing.
    intensity
        The rain rate of a training sample is multiplied by a number between ``1 / intensity`` and
        ``intensity``, so that other climates are seen. 1 does nothing.
    """

    shards: str | tuple[str, ...] | None = None
    synthetic: SyntheticSection | None = None
    frames_in: int = 6
    frames_out: int = 12
    crop: int | None = 96
    flips: bool = True
    wet_bias: float = 0.0
    locality: int = 0
    zoom: float = 1.0
    intensity: float = 1.0

    def __post_init__(self) -> None:
        """Check the values."""
        require(
            (self.shards is None) != (self.synthetic is None),
            "data: give either shards (a folder) or synthetic (a section), not both or neither",
        )
        require(
            self.shards is None or (all(self.folders) and len(self.folders) >= 1),
            "data.shards: a folder has no name",
        )
        require(
            len(set(self.folders)) == len(self.folders), "data.shards names a folder more than once"
        )
        require(
            len(self.folders) < 2 or self.crop is not None,
            "data.shards of several folders needs data.crop: their frames differ in size",
        )
        require(self.frames_in >= 1, "data.frames_in must be at least 1")
        require(self.frames_out >= 1, "data.frames_out must be at least 1")
        require(self.crop is None or self.crop >= 8, "data.crop must be null or at least 8 pixels")
        require(self.wet_bias >= 0, "data.wet_bias must not be negative")
        require(self.locality >= 0, "data.locality must not be negative")
        require(self.zoom >= 1, "data.zoom must be at least 1, which does nothing")
        require(
            self.zoom == 1 or (self.crop is not None and self.crop / self.zoom >= 8),
            "data.zoom needs data.crop, and squares of at least 8 pixels: crop / zoom",
        )
        require(self.intensity >= 1, "data.intensity must be at least 1, which does nothing")

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of ``shards``; none with a synthetic archive."""
        if self.shards is None:
            return ()
        return (self.shards,) if isinstance(self.shards, str) else self.shards

    def only_folder(self, purpose: str) -> str | None:
        """The folder of ``shards``, None with a synthetic archive.

        Raises
        ------
        ConfigError
            When there are several, with the purpose that one is needed for.
        """
        require(
            len(self.folders) < 2,
            f"{purpose} one archive, but data.shards names {len(self.folders)}: "
            f"{', '.join(self.folders)}",
        )
        return next(iter(self.folders), None)


@dataclass(frozen=True)
class ModelSection:
    """The U-Net.

    Attributes
    ----------
    filters
        Filters of each encoder level; the decoder mirrors them.
    centre
        Filters between encoder and decoder.
    stem
        1 works at full resolution; 2 or 4 first folds the frame into blocks of that side.
    normalisation
        ``none``, ``group`` or ``layer``. Batch normalisation is not offered: it would depend on
        each rank's share of the batch.
    activation
        ``relu``, ``silu`` or ``gelu``.
    residual
        Predict the change from the last frame instead of the frame itself.
    mask_channel
        Show the model where the input is missing.
    advection
        Show the model the newest frame moved on along the motion of the rain to each lead time,
        and let it choose for each pixel and lead time between that and the frame itself.
    change_share
        How much a forecast takes, from 0 to 1, of the change that the network has learnt to make
        to the moved rain; a training takes all of it, its validation does not. Growth and decay of
        a few days are soon learnt by heart: then half of them is better on another day.
    noise
        Channels of random noise the model is shown: each draw of them gives another member of an
        ensemble. 0 makes one forecast; needs ``loss.error: crps`` otherwise.
    strong_rain
        How far, from 0 to 1, the strong rain of a forecast is brought to the rates of the newest
        frame moved on, at the last lead time; see `restore_strong_rain`. It changes forecasts, not
        training; needs ``advection``, and no ``noise``: members have rates of their own.
    texture
        How strongly a forecast is given the texture of the newest frame moved on, see
        `give_texture`; it too changes forecasts, not training, and needs the same.
    precision
        ``float32``; ``mixed_bfloat16``, which computes in half the bytes and keeps the weights in
        float32; or ``float64``, for proofs.
    """

    filters: tuple[int, ...] = (32, 64, 128, 256)
    centre: int = 1024
    stem: int = 1
    normalisation: str = "none"
    activation: str = "relu"
    residual: bool = True
    mask_channel: bool = True
    advection: bool = False
    change_share: float = 1.0
    noise: int = 0
    strong_rain: float = 0.0
    texture: float = 0.0
    precision: str = "float32"

    def __post_init__(self) -> None:
        """Check the values."""
        require(
            len(self.filters) >= 1 and min(*self.filters, self.centre) >= 1,
            "model.filters and model.centre must be positive",
        )
        require(self.stem in (1, 2, 4), "model.stem must be 1, 2 or 4")
        require(self.residual or not self.advection, "model.advection needs model.residual")
        require(0 <= self.change_share <= 1, "model.change_share must be from 0 to 1")
        require(
            self.change_share == 1 or self.advection,
            "model.change_share below 1 needs model.advection",
        )
        require(self.noise >= 0, "model.noise must not be negative")
        require(0 <= self.strong_rain <= 1, "model.strong_rain must be from 0 to 1")
        require(self.texture >= 0, "model.texture must not be negative")
        for name, value in (("strong_rain", self.strong_rain), ("texture", self.texture)):
            require(
                not value or (self.advection and not self.noise),
                f"model.{name} needs model.advection, and model.noise 0",
            )
        choice("model.normalisation", self.normalisation, NORMALISATIONS)
        choice("model.activation", self.activation, ACTIVATIONS)
        choice("model.precision", self.precision, PRECISIONS)
        require(
            self.normalisation != "group" or all(f % 8 == 0 for f in (*self.filters, self.centre)),
            "model.normalisation group works in groups of 8: filters must be multiples of 8",
        )


@dataclass(frozen=True)
class LossSection:
    """What is minimised: a mean over valid pixels of the scaled (log) field.

    Attributes
    ----------
    error
        ``mse`` or ``mae`` of the scaled field, or ``crps``, the continuous ranked probability
        score of an ensemble.
    physical_weight
        Of ``crps``: weight of the same score of the field in physical units beside that of the
        scaled one. Without it members of too much rain are hardly punished, and may be absurd.
    rain_weight
        Each pixel's error is multiplied by ``1 + rain_weight * min(R, rain_weight_limit)``, with
        R the observed value in physical units; 0 weights all pixels alike.
    rain_weight_limit
        Where the weight stops growing.
    exceedance
        Weight of the CSI-friendly term: the soft count of misses and false alarms at
        ``thresholds``; 0 leaves it out.
    thresholds
        Thresholds of that term in physical units.
    threshold_weights
        Weight of each of them, all alike when empty; rare events need a large one to be heard.
    miss_costs
        Cost of a miss at each of them, that of a false alarm being 1, as it is when empty. CSI is
        largest where it is ``1 / CSI``: what can hardly be forecast pays to be forecast early.
    last_miss_costs
        The same for the last lead time, linear in between, since ``1 / CSI`` grows about so; as
        ``miss_costs`` when empty.
    """

    error: str = "mae"
    physical_weight: float = 0.2
    rain_weight: float = 1.0
    rain_weight_limit: float = 10.0
    exceedance: float = 0.0
    thresholds: tuple[float, ...] = (0.5, 1.0, 5.0)
    threshold_weights: tuple[float, ...] = ()
    miss_costs: tuple[float, ...] = ()
    last_miss_costs: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        choice("loss.error", self.error, ERRORS)
        require(
            self.error != "crps" or (not self.rain_weight and not self.exceedance),
            "loss.error crps needs loss.rain_weight 0 and loss.exceedance 0: weighted by what "
            "came, it would reward forecasts that are not honest",
        )
        require(
            min(self.physical_weight, self.rain_weight, self.rain_weight_limit, self.exceedance)
            >= 0,
            "loss: weights must not be negative",
        )
        for name in ("threshold_weights", "miss_costs", "last_miss_costs"):
            values = getattr(self, name)
            require(
                len(values) in (0, len(self.thresholds)) and all(value > 0 for value in values),
                f"loss.{name} must be positive, one for each of loss.thresholds, or none at all",
            )


@dataclass(frozen=True)
class NowcastConfig(Sections):
    """The whole configuration of a nowcast."""

    data: DataSection
    model: ModelSection = field(default_factory=ModelSection)
    loss: LossSection = field(default_factory=LossSection)
    task: str = "nowcast"

    def __post_init__(self) -> None:
        """Check what concerns several sections."""
        super().__post_init__()
        require(
            not self.model.advection or self.data.frames_in >= 2,
            "model.advection needs data.frames_in of 2 or more: motion is between frames",
        )
        require(
            (self.model.noise > 0) == (self.loss.error == "crps"),
            "model.noise above 0 and loss.error crps need each other: the noise makes the members "
            "of an ensemble, and only crps keeps them different",
        )
        multiple = self.model.stem * 2 ** len(self.model.filters)
        require(
            self.data.crop is None or self.data.crop % multiple == 0,
            f"data.crop is {self.data.crop}, but this model halves the frame down to 1/{multiple}: "
            f"use a multiple of {multiple}",
        )

    def require_fits(self, quantity: str, where: object) -> None:
        """Refuse settings that are for rain alone where frames are of another quantity.

        Raises
        ------
        ConfigError
            With the setting, and where the quantity was found.
        """
        of_rain = {
            "data.intensity": self.data.intensity != 1,
            "model.strong_rain": self.model.strong_rain != 0,
            "model.texture": self.model.texture != 0,
        }
        for setting, is_used in of_rain.items():
            require(
                quantity == "rain_rate" or not is_used,
                f"{setting} is for rain_rate, but {where} holds {quantity}: leave it out",
            )
