"""Samples to batches, the next of them read while one is trained on where a core is free for it.

A tf.data generator moves a batch through one more copy and hands threads over by Python's lock,
which took three times as long as reading the frames.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

BATCHES_AHEAD = 2
# How often a reader whose batches nobody takes looks whether it is still wanted.
LOOK_SECONDS = 0.1
LONGEST_READ_SECONDS = 5.0

_END = object()

Item = TypeVar("Item")


def read_ahead(make: Callable[[], Iterator[Any]], batch: int) -> Iterator[Any]:
    """Batches of samples, in order; what goes wrong while reading is raised here as what it was.

    With `core_to_spare` a thread of its own reads ahead. A rank that computes on a single core
    reads between its steps instead: two threads that take turns on a core empty each other's
    caches, and reading then takes twice the time.

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
    # Arrays whose batch is on the device are filled again: fresh memory costs more than the copy.
    used: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def stacked() -> Generator[tuple[Any, int], None, None]:
        return _stacked(make(), batch, used)

    with closing(_from_thread(stacked) if core_to_spare() else stacked()) as batches:
        for arrays, count in batches:
            tensors = tf.nest.map_structure(lambda array, n=count: tf.constant(array[:n]), arrays)
            used.put(arrays)
            yield tensors


def core_to_spare() -> bool:
    """Whether this rank has more than one core to compute on, or computes on another device."""
    cores = len(os.sched_getaffinity(0))
    threads = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    cores = min(cores, int(threads)) if threads.isdigit() and int(threads) else cores
    return cores > 1 or bool(tf.config.get_visible_devices("GPU"))


def _from_thread(make: Callable[[], Iterator[Item]]) -> Generator[Item, None, None]:
    """Items that a thread of its own makes, `BATCHES_AHEAD` of those that are taken."""
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
            for item in make():
                hand_over(item)
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
            yield item
    finally:
        unwanted.set()
        # Not for ever: a read that never returns must not keep a failed rank from ending.
        reader.join(LONGEST_READ_SECONDS)


def _stacked(
    samples: Iterator[Any], batch: int, used: queue.SimpleQueue[Any]
) -> Generator[tuple[Any, int], None, None]:
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
