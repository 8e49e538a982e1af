"""From a generator of samples to batches that are read ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

PREFETCHED_BATCHES = 2


class Feed:
    """Makes datasets of samples; what goes wrong while reading is raised as what it was."""

    def __init__(self) -> None:
        self._problem: Exception | None = None

    def dataset(
        self, make: Callable[[], Iterator[Any]], signature: Any, batch: int
    ) -> tf.data.Dataset:
        """Batches of samples, in order.

        Parameters
        ----------
        make
            Gives the samples.
        signature
            Shapes and types of one sample.
        batch
            Samples in a batch; the last may be smaller.
        """

        def samples() -> Iterator[Any]:
            try:
                yield from make()
            except Exception as problem:  # Whatever it is, `iterate` raises it again.
                self._problem = problem
                raise

        options = tf.data.Options()
        options.deterministic = True
        dataset = tf.data.Dataset.from_generator(samples, output_signature=signature)
        # Read ahead by samples, so that one is copied into its batch while the next is read.
        dataset = dataset.prefetch(batch).batch(batch).prefetch(PREFETCHED_BATCHES)
        return dataset.with_options(options)

    def iterate(self, dataset: tf.data.Dataset) -> Iterator[Any]:
        """Batches of a dataset."""
        try:
            yield from dataset
        except tf.errors.OpError as problem:
            # TensorFlow hands over only the text of an error in a generator.
            if self._problem is not None:
                raise self._problem from problem
            raise
