"""What tasks share whose samples are numbered: which of them a rank takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import tensorflow as tf

from hvd_nowcast.config import RegionSection, TrainingSection
from hvd_nowcast.loader.assignment import rank_part
from hvd_nowcast.loader.batches import NumberedSamples
from hvd_nowcast.parallel.branches import Branches

Samples = TypeVar("Samples", bound=NumberedSamples)


class SampledTask(Generic[Samples]):
    """The part of a `Task` that its samples decide.

    Parameters
    ----------
    training
        Seed, global batch and number of validation samples.
    samples
        Gives the samples of a split, of one region where one is given.
    region
        The one to start with.
    validation_batch
        Samples of a validation batch.
    """

    def __init__(
        self,
        training: TrainingSection,
        samples: Callable[[str, RegionSection | None], Samples],
        region: RegionSection | None,
        validation_batch: int,
    ) -> None:
        self._training = training
        self._samples = samples
        self._validation_batch = validation_batch
        self.branches: Branches | None = None
        self.turn_to(region)

    def turn_to(self, region: RegionSection | None) -> None:
        """Take samples from a region alone, or from everywhere, see `Task`."""
        self._region = region
        self._train, self._validation = (self._samples(s, region) for s in ("train", "validation"))
        self.windows = len(self._train)

    def training_batches(self, part: slice, steps: range) -> Iterator[dict[str, tf.Tensor]]:
        """Part of one rank of the global batches of some steps."""
        training = self._training
        return self._train.training(training.seed, training.global_batch, part, steps)

    def validation_batches(self, rank: int, ranks: int) -> Iterator[dict[str, tf.Tensor]]:
        """Part of one rank of the validation samples."""
        limit = self._training.validation_samples
        part = rank_part(len(self._validation), limit, rank, ranks)
        return self._validation.in_order(part, self._validation_batch)

    def scored_batches(self, split: str, limit: int) -> Iterator[dict[str, tf.Tensor]]:
        """At most so many samples of a split, spread evenly."""
        samples = self._samples(split, self._region)
        numbers = rank_part(len(samples), limit, 0, 1)
        return samples.in_order(numbers, self._validation_batch)

    def describe_samples(self, part: slice, step: int) -> str:
        """Where the samples of a part of a global batch come from."""
        training = self._training
        return self._train.describe(training.seed, training.global_batch, part, step)
