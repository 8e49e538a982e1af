"""What is trained, as the training loop sees it: batches in, sums out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import keras
import tensorflow as tf

from hvd_nowcast.config import RegionSection
from hvd_nowcast.parallel.branches import Branches
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.parallel.traffic import NetworkSizes


class Task(Protocol):
    """A model with its data and its loss.

    A batch is any nest of tensors whose first axis counts samples. Sums travel divided by
    ``planned_targets``, which keeps them near 1: float32 counts exactly only to 2**24.
    """

    @property
    def model(self) -> keras.Model:
        """What is trained."""

    @property
    def branches(self) -> Branches | None:
        """Branches of the model on different ranks; None where every rank holds all of it."""

    @property
    def planned_targets(self) -> float:
        """Number of targets of a global batch without a missing one."""

    @property
    def windows(self) -> int:
        """Samples of one epoch."""

    @property
    def sizes(self) -> NetworkSizes:
        """What of the network travels between ranks."""

    def turn_to(self, region: RegionSection | None) -> None:
        """Take samples from a region alone from now on, or from everywhere; the model stays."""

    def place(self, communicator: Communicator) -> None:
        """Decide which rank holds which branch, where the configuration wants that; collective."""

    def initialise(self) -> None:
        """Set weights that need no gradient to be found; called once, on the first rank."""

    def polish(self, started: bool) -> bool:
        """Improve the best weights, now in the model, without a gradient; whether any changed.

        Called once after the last step, on the first rank.

        Parameters
        ----------
        started
            Whether the run started from the weights of another.
        """

    def forward(self, batch: Any, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Loss sum and number of valid targets of a batch, divided by ``planned_targets``."""

    def training_batches(self, part: slice, steps: range) -> Iterator[Any]:
        """Part of one rank, or of one replica of branches, of the global batches of some steps."""

    def validation_batches(self, rank: int, ranks: int) -> Iterator[Any]:
        """Part of one rank, or of one replica of branches, of the validation samples."""

    def describe_samples(self, part: slice, step: int) -> str:
        """Where the samples of a part of a global batch come from, for a message."""

    def close(self) -> None:
        """Close what is open."""
