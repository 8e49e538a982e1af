"""One YAML file in, one checked tree of frozen sections out.

Each part of the program takes its own section; only the command line sees the whole. Sections
check themselves when they are made, so nothing heavy starts from a wrong value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dacite
import yaml

from hvd_nowcast.errors import ConfigError

NORMALISATIONS = ("none", "group", "layer")
ACTIVATIONS = ("relu", "silu", "gelu")
ERRORS = ("mse", "mae")
OPTIMISERS = ("adam", "sgd")
DECAYS = ("cosine", "plateau", "none")
PRECISIONS = ("float32", "mixed_bfloat16", "float64")
COMPRESSIONS = ("none", "fp16")
BALANCE_MODES = ("equal", "static", "dynamic", "manual")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


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
        _require(
            min(self.frames, self.height, self.width) > 0,
            "data.synthetic: frames, height and width must be positive",
        )


@dataclass(frozen=True)
class DataSection:
    """Which frames are read and how samples are cut from them.

    Attributes
    ----------
    shards
        Folder made by ``hvd-nowcast shards build``, relative to the working directory.
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
    """

    shards: str | None = None
    synthetic: SyntheticSection | None = None
    frames_in: int = 6
    frames_out: int = 12
    crop: int | None = 96
    flips: bool = True
    wet_bias: float = 0.0
    locality: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        _require(
            (self.shards is None) != (self.synthetic is None),
            "data: give either shards (a folder) or synthetic (a section), not both or neither",
        )
        _require(self.frames_in >= 1, "data.frames_in must be at least 1")
        _require(self.frames_out >= 1, "data.frames_out must be at least 1")
        _require(self.crop is None or self.crop >= 8, "data.crop must be null or at least 8 pixels")
        _require(self.wet_bias >= 0, "data.wet_bias must not be negative")
        _require(self.locality >= 0, "data.locality must not be negative")


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
    precision: str = "float32"

    def __post_init__(self) -> None:
        """Check the values."""
        _require(
            len(self.filters) >= 1 and min(*self.filters, self.centre) >= 1,
            "model.filters and model.centre must be positive",
        )
        _require(self.stem in (1, 2, 4), "model.stem must be 1, 2 or 4")
        _choice("model.normalisation", self.normalisation, NORMALISATIONS)
        _choice("model.activation", self.activation, ACTIVATIONS)
        _choice("model.precision", self.precision, PRECISIONS)
        _require(
            self.normalisation != "group" or all(f % 8 == 0 for f in (*self.filters, self.centre)),
            "model.normalisation group works in groups of 8: filters must be multiples of 8",
        )


@dataclass(frozen=True)
class LossSection:
    """What is minimised: a mean over valid pixels of the scaled (log) field.

    Attributes
    ----------
    error
        ``mse`` or ``mae`` of the scaled field.
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
    """

    error: str = "mae"
    rain_weight: float = 1.0
    rain_weight_limit: float = 10.0
    exceedance: float = 0.0
    thresholds: tuple[float, ...] = (0.5, 1.0, 5.0)

    def __post_init__(self) -> None:
        """Check the values."""
        _choice("loss.error", self.error, ERRORS)
        _require(
            min(self.rain_weight, self.rain_weight_limit, self.exceedance) >= 0,
            "loss: weights must not be negative",
        )


@dataclass(frozen=True)
class OptimiserSection:
    """Optimiser and learning rate, a pure function of the step and the global batch.

    Attributes
    ----------
    name
        ``adam`` or ``sgd``.
    learning_rate
        Peak learning rate for a global batch of ``reference_batch``; scaled linearly with the
        batch.
    reference_batch
        Batch the learning rate was found with.
    warmup_steps
        Steps of linear warm-up.
    warmup_epochs
        Its length in passes over the training windows, instead of ``warmup_steps``.
    decay
        ``cosine`` towards zero at the last step, ``none``, or ``plateau``: multiplied by
        ``plateau_factor`` after each ``plateau_patience`` validations in a row without a better
        loss.
    plateau_factor, plateau_patience
        See ``decay``.
    clip_norm
        Largest global norm of the gradient; ``null`` does not clip.
    averaging
        Validation and forecasts use a running mean of the weights with this momentum; 0.998
        averages over about 500 steps, 0 uses the weights of the last step.
    """

    name: str = "adam"
    learning_rate: float = 1e-3
    reference_batch: int = 8
    warmup_steps: int = 100
    warmup_epochs: float | None = None
    decay: str = "cosine"
    plateau_factor: float = 0.5
    plateau_patience: int = 3
    clip_norm: float | None = 1.0
    averaging: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        _choice("optimiser.name", self.name, OPTIMISERS)
        _choice("optimiser.decay", self.decay, DECAYS)
        _require(self.learning_rate > 0, "optimiser.learning_rate must be positive")
        _require(self.reference_batch >= 1, "optimiser.reference_batch must be at least 1")
        _require(0 <= self.averaging < 1, "optimiser.averaging must be in [0, 1)")
        _require(self.warmup_steps >= 0, "optimiser.warmup_steps must not be negative")
        _require(
            self.warmup_epochs is None or self.warmup_epochs >= 0,
            "optimiser.warmup_epochs must be null or not negative",
        )
        _require(0 < self.plateau_factor < 1, "optimiser.plateau_factor must be in (0, 1)")
        _require(self.plateau_patience >= 1, "optimiser.plateau_patience must be at least 1")
        _require(
            self.clip_norm is None or self.clip_norm > 0,
            "optimiser.clip_norm must be null or positive",
        )


@dataclass(frozen=True)
class TrainingSection:
    """Length, rhythm and safety of a run.

    Attributes
    ----------
    steps
        Optimiser steps of the whole run.
    global_batch
        Samples per step, over all ranks together.
    seed
        Decides initial weights, the order of samples, crops and flips.
    validate_every
        Steps between validations; checkpoints of the best weights follow them.
    validation_samples
        Largest number of validation windows, spread evenly over the split.
    patience
        Validations without a better loss before the run stops early; ``null`` never stops.
    checkpoint_every
        Steps between checkpoints.
    checkpoint_minutes
        Minutes between checkpoints, whichever comes first.
    keep_checkpoints
        Older ones are removed.
    accumulate
        Each rank computes its part of the batch in this many pieces, one after another, which
        needs less memory and changes nothing else.
    compression
        ``none``, or ``fp16``: gradients travel between ranks in two bytes.
    stall_minutes
        A rank that makes no progress for so long shows where it is stuck and ends the job.
    """

    steps: int = 1000
    global_batch: int = 8
    seed: int = 0
    validate_every: int = 250
    validation_samples: int = 48
    patience: int | None = None
    checkpoint_every: int = 250
    checkpoint_minutes: float = 10.0
    keep_checkpoints: int = 3
    accumulate: int = 1
    compression: str = "none"
    stall_minutes: float = 10.0

    def __post_init__(self) -> None:
        """Check the values."""
        for name in (
            "steps global_batch validate_every validation_samples checkpoint_every "
            "keep_checkpoints accumulate"
        ).split():
            _require(getattr(self, name) >= 1, f"training.{name} must be at least 1")
        _choice("training.compression", self.compression, COMPRESSIONS)
        _require(self.checkpoint_minutes > 0, "training.checkpoint_minutes must be positive")
        _require(self.stall_minutes > 0, "training.stall_minutes must be positive")
        _require(
            self.patience is None or self.patience >= 1,
            "training.patience must be null or at least 1",
        )


@dataclass(frozen=True)
class BalanceSection:
    """How the global batch is divided over the ranks; the result of a run does not depend on it.

    Attributes
    ----------
    mode
        ``equal``; ``static``, by a probe of every rank's speed at the start; ``dynamic``, by the
        same and then by the step times seen; or ``manual``.
    shares
        Samples of each rank for ``manual``, one number per rank.
    every
        Steps between two looks at the step times in ``dynamic``.
    """

    mode: str = "equal"
    shares: tuple[int, ...] | None = None
    every: int = 50

    def __post_init__(self) -> None:
        """Check the values."""
        _choice("balance.mode", self.mode, BALANCE_MODES)
        _require(
            (self.mode == "manual") == (self.shares is not None),
            "balance.shares belongs to mode manual: give both or neither",
        )
        _require(
            self.shares is None or min(self.shares, default=-1) >= 0,
            "balance.shares must be one number of samples per rank, 0 or more",
        )
        _require(self.every >= 1, "balance.every must be at least 1")


@dataclass(frozen=True)
class Config:
    """The whole configuration of a nowcast run."""

    data: DataSection
    model: ModelSection = field(default_factory=ModelSection)
    loss: LossSection = field(default_factory=LossSection)
    optimiser: OptimiserSection = field(default_factory=OptimiserSection)
    training: TrainingSection = field(default_factory=TrainingSection)
    balance: BalanceSection = field(default_factory=BalanceSection)

    def __post_init__(self) -> None:
        """Check what concerns several sections."""
        multiple = self.model.stem * 2 ** len(self.model.filters)
        _require(
            self.data.crop is None or self.data.crop % multiple == 0,
            f"data.crop is {self.data.crop}, but this model halves the frame down to 1/{multiple}: "
            f"use a multiple of {multiple}",
        )
        shares, batch = self.balance.shares, self.training.global_batch
        _require(
            shares is None or sum(shares) == batch,
            f"balance.shares add up to {sum(shares or ())}, but training.global_batch is {batch}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, ready for YAML."""
        plain = dataclasses.asdict(self)
        return _lists(plain)

    def to_flat_dict(self) -> dict[str, Any]:
        """All settings by their full name, such as ``optimiser.learning_rate``."""
        return _flat(self.to_dict())


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file and apply ``section.key=value`` overrides.

    Raises
    ------
    ConfigError
        When the file cannot be read, a key is not known, or a value has the wrong type or range.
    """
    tree = _read_yaml(Path(path))
    for override in overrides:
        _apply_override(tree, override)
    return config_from_dict(tree, str(path))


def config_from_dict(tree: Mapping[str, Any], source: str) -> Config:
    """Check a plain tree and turn it into a `Config`.

    Parameters
    ----------
    tree
        Sections as dictionaries.
    source
        Where it came from, for messages.
    """
    settings = dacite.Config(strict=True, cast=[tuple], type_hooks={float: _number})
    try:
        return dacite.from_dict(Config, dict(tree), settings)
    except (dacite.DaciteError, TypeError, ConfigError) as problem:
        raise ConfigError(f"{source}: {problem}") from problem


def _number(value: Any) -> float:
    # YAML reads 1e-3 as text (it wants 1.0e-3); people write 1e-3.
    if isinstance(value, str | int) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError as problem:
            raise ConfigError(f"expected a number, got {value!r}") from problem
    if isinstance(value, float):
        return value
    raise ConfigError(f"expected a number, got {value!r}")


def _choice(name: str, value: str, choices: Sequence[str]) -> None:
    _require(value in choices, f"{name} is {value!r}, expected one of {', '.join(choices)}")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise ConfigError(f"{path}: not a readable YAML file: {problem}") from problem
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected sections such as 'data:' and 'model:'")
    return tree


def _apply_override(tree: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    keys = name.strip().split(".")
    if not separator or not all(keys):
        raise ConfigError(f"--set {override}: expected section.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise ConfigError(f"--set {override}: {problem}") from problem
    for key in keys[:-1]:
        section = tree.setdefault(key, {})
        if not isinstance(section, dict):
            raise ConfigError(f"--set {override}: {key} is a value, not a section")
        tree = section
    tree[keys[-1]] = value


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, tuple | list) else value
