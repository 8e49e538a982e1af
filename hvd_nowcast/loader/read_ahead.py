"""Samples to batches in a thread of its own, so that the next are read while one is trained on.

A tf.data generator moves a batch through one more copy and hands threads over by Python's lock,
which took three times as long as reading the frames.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import tensorflow as tf

BATCHES_AHEAD = 2
# How often a reader whose batches nobody takes looks whether it is still wanted.
LOOK_SECONDS = 0.1
LONGEST_READ_SECONDS = 5.0

_END = object()


def read_ahead(make: Callable[[], Iterator[Any]], batch: int) -> Iterator[Any]:
    """Batches of samples, in order; what goes wrong while reading is raised here as what it was.

    Parameters
    ----------
    make
        Gives the samples: arrays of one shape, or dictionaries of such.
    batch
        Samples in a batch; the last may be smaller.

    Yields
    ------
    tensorflow.Tensor or dict
        The samples along a new first axis.
    """
    ready: queue.Queue[Any] = queue.Queue(BATCHES_AHEAD)
    # Arrays whose batch is on the device are filled again: fresh memory costs more than the copy.
    used: queue.SimpleQueue[Any] = queue.SimpleQueue()
    unwanted = threading.Event()

    def hand_over(item: Any) -> None:
        while not unwanted.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=LOOK_SECONDS)
                return

    def read() -> None:
        last: Any = _END
        try:
            for arrays in _stacked(make(), batch, used):
                hand_over(arrays)
                if unwanted.is_set():
                    return
        except BaseException as problem:  # Whatever it is, the thread that trains raises it.
            last = problem
        hand_over(last)

    reader = threading.Thread(target=read, name="read ahead", daemon=True)
    reader.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            arrays, count = item
            tensors = tf.nest.map_structure(lambda array, n=count: tf.constant(array[:n]), arrays)
            used.put(arrays)
            yield tensors
    finally:
        unwanted.set()
        # Not for ever: a read that never returns must not keep a failed rank from ending.
        reader.join(LONGEST_READ_SECONDS)


def _stacked(
    samples: Iterator[Any], batch: int, used: queue.SimpleQueue[Any]
) -> Iterator[tuple[Any, int]]:
    """Arrays of a whole batch and how many samples lie in them, each copied once to its place."""
    held: Any = None
    count = 0
    for sample in samples:
        if held is None:
            held = _room(sample, batch, used)
        tf.nest.map_structure(lambda to, array, n=count: to.__setitem__(n, array), held, sample)
        count += 1
        if count == batch:
            yield held, count
            held, count = None, 0
    if count:
        yield held, count


def _room(sample: Any, batch: int, used: queue.SimpleQueue[Any]) -> Any:
    with suppress(queue.Empty):
        return used.get_nowait()

    def empty(array: Any) -> Any:
        like = np.asarray(array)
        return np.empty((batch, *like.shape), like.dtype)

    return tf.nest.map_structure(empty, sample)
