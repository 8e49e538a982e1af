"""What every task has: optimiser, training, shares; in sections that check themselves."""

from __future__ import annotations

import dataclasses
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from hvd_nowcast.config.checks import choice, require
from hvd_nowcast.config.region import RegionSection, StartSection

PRECISIONS = ("float32", "mixed_bfloat16", "float64")
OPTIMISERS = ("adam", "sgd")
DECAYS = ("cosine", "plateau", "none")
COMPRESSIONS = ("none", "fp16")
BALANCE_MODES = ("equal", "static", "dynamic", "manual")


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
        choice("optimiser.name", self.name, OPTIMISERS)
        choice("optimiser.decay", self.decay, DECAYS)
        require(self.learning_rate > 0, "optimiser.learning_rate must be positive")
        require(self.reference_batch >= 1, "optimiser.reference_batch must be at least 1")
        require(0 <= self.averaging < 1, "optimiser.averaging must be in [0, 1)")
        require(self.warmup_steps >= 0, "optimiser.warmup_steps must not be negative")
        require(
            self.warmup_epochs is None or self.warmup_epochs >= 0,
            "optimiser.warmup_epochs must be null or not negative",
        )
        require(0 < self.plateau_factor < 1, "optimiser.plateau_factor must be in (0, 1)")
        require(self.plateau_patience >= 1, "optimiser.plateau_patience must be at least 1")
        require(
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
    target_loss
        The run stops when its validation loss is as low as this; ``null`` goes on.
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
    target_loss: float | None = None
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
            require(getattr(self, name) >= 1, f"training.{name} must be at least 1")
        choice("training.compression", self.compression, COMPRESSIONS)
        require(self.checkpoint_minutes > 0, "training.checkpoint_minutes must be positive")
        require(self.stall_minutes > 0, "training.stall_minutes must be positive")
        require(
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
        choice("balance.mode", self.mode, BALANCE_MODES)
        require(
            (self.mode == "manual") == (self.shares is not None),
            "balance.shares belongs to mode manual: give both or neither",
        )
        require(
            self.shares is None or min(self.shares, default=-1) >= 0,
            "balance.shares must be one number of samples per rank, 0 or more",
        )
        require(self.every >= 1, "balance.every must be at least 1")


@dataclass(frozen=True)
class BranchesSection:
    """How the branches of a network are spread over ranks.

    Attributes
    ----------
    ranks_per_replica
        Ranks that hold one copy of the network together, its heads divided by their measured cost
        and the ranks' speed. 1: every rank holds the whole; 0: all ranks hold one together.
    head_alone
        The last of these ranks has no branch, and carries all samples through the rest of the
        network; otherwise all of them divide the samples.
    """

    ranks_per_replica: int = 1
    head_alone: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        require(self.ranks_per_replica >= 0, "branches.ranks_per_replica must not be negative")
        require(
            not self.head_alone or self.ranks_per_replica != 1,
            "branches.head_alone needs branches.ranks_per_replica of 2 or more, or 0",
        )


@dataclass(frozen=True)
class Sections:
    """What all whole configurations have and can do; each task adds its own sections.

    Attributes
    ----------
    optimiser, training, balance
        How it is trained.
    region
        What of the archive it learns from; ``null`` takes all.
    start
        A run it starts from; ``null`` starts from random weights.
    """

    _: KW_ONLY
    optimiser: OptimiserSection = field(default_factory=OptimiserSection)
    training: TrainingSection = field(default_factory=TrainingSection)
    balance: BalanceSection = field(default_factory=BalanceSection)
    region: RegionSection | None = None
    start: StartSection | None = None

    def __post_init__(self) -> None:
        """Refuse manual shares that are not the batch."""
        shares, batch = self.balance.shares, self.training.global_batch
        require(
            shares is None or sum(shares) == batch,
            f"balance.shares add up to {sum(shares or ())}, but training.global_batch is {batch}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, ready for YAML."""
        plain: dict[str, Any] = _lists(dataclasses.asdict(self))
        return plain

    def to_flat_dict(self) -> dict[str, Any]:
        """All settings by their full name, such as ``optimiser.learning_rate``."""
        return _flat(self.to_dict())


@dataclass(frozen=True)
class BranchedSections(Sections):
    """What the configuration of a network with branches has besides.

    Attributes
    ----------
    branches
        How they are spread over ranks.
    """

    _: KW_ONLY
    branches: BranchesSection = field(default_factory=BranchesSection)

    def __post_init__(self) -> None:
        """Refuse what does not go together with branches on several ranks."""
        super().__post_init__()
        require(
            self.branches.ranks_per_replica == 1 or self.training.compression == "none",
            "training.compression needs branches.ranks_per_replica 1",
        )


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
