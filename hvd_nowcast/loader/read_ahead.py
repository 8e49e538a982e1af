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
    unwanted = threading.Event()

    def hand_over(item: Any) -> None:
        while not unwanted.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=LOOK_SECONDS)
                return

    def read() -> None:
        last: Any = _END
        try:
            for arrays in _stacked(make(), batch):
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
            yield tf.nest.map_structure(tf.constant, item)
    finally:
        unwanted.set()
        # Not for ever: a read that never returns must not keep a failed rank from ending.
        reader.join(LONGEST_READ_SECONDS)


def _stacked(samples: Iterator[Any], batch: int) -> Iterator[Any]:
    """Arrays of a whole batch, each sample copied once, straight to its place."""
    held: Any = None
    count = 0
    for sample in samples:
        if held is None:
            held = tf.nest.map_structure(lambda array: _room(array, batch), sample)
        tf.nest.map_structure(lambda to, array, n=count: to.__setitem__(n, array), held, sample)
        count += 1
        if count == batch:
            yield held
            held, count = None, 0
    if count:
        yield tf.nest.map_structure(lambda array: array[:count], held)


def _room(array: Any, batch: int) -> Any:
    like = np.asarray(array)
    return np.empty((batch, *like.shape), like.dtype)
