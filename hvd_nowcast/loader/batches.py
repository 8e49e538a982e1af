"""Numbered samples to batches of a dictionary of arrays, the same on any number of ranks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from hvd_nowcast.loader.assignment import SampleOrder
from hvd_nowcast.loader.read_ahead import read_ahead

# Shape and type of one array of a sample.
Shape = tuple[tuple[int, ...], Any]


class NumberedSamples(ABC):
    """Samples that are told apart by a number below their count."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def sample(self, number: int, seed: tuple[int, ...] | None = None) -> dict[str, Any]:
        """One sample; with a seed it is drawn for training and may be changed at random."""

    @abstractmethod
    def shapes(self) -> Mapping[str, Shape]:
        """Shapes and types of the arrays of one sample."""

    @abstractmethod
    def describe_sample(self, number: int) -> str:
        """Where a sample comes from, for a message."""

    def training(
        self, seed: int, global_batch: int, part: slice, steps: range
    ) -> Iterator[dict[str, tf.Tensor]]:
        """Part of one rank of the global batches of some steps."""
        size = len(range(global_batch)[part])
        if not size:
            empty = {n: tf.zeros((0, *shape), kind) for n, (shape, kind) in self.shapes().items()}
            return iter([empty] * len(steps))
        order = SampleOrder(np.ones(len(self)), seed)

        def samples() -> Iterator[dict[str, Any]]:
            for step in steps:
                drawn = order.batch(global_batch, step)[part]
                places = np.arange(step * global_batch, (step + 1) * global_batch)[part]
                for number, place in zip(drawn, places, strict=True):
                    yield self.sample(int(number), (seed, 1, int(place)))

        return read_ahead(samples, size)

    def in_order(self, numbers: Sequence[int], batch: int) -> Iterator[dict[str, tf.Tensor]]:
        """Given samples in their order, as they are."""

        def samples() -> Iterator[dict[str, Any]]:
            for number in numbers:
                yield self.sample(number)

        return read_ahead(samples, batch)

    def describe(self, seed: int, global_batch: int, part: slice, step: int) -> str:
        """Where the first samples of one rank in one step come from, for a message."""
        numbers = SampleOrder(np.ones(len(self)), seed).batch(global_batch, step)[part][:4]
        return ", ".join(self.describe_sample(int(number)) for number in numbers)
