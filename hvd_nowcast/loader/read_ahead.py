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
from numpy.typing import NDArray

BATCHES_AHEAD = 2
# All ranks wait for the one that reads longest, and what a few batches take differs less from rank
# to rank than what one takes.
BATCHES_AT_ONCE = 4
# How often a reader whose batches nobody takes looks whether it is still wanted.
LOOK_SECONDS = 0.1
LONGEST_READ_SECONDS = 5.0

_END = object()

# Bytes. What does not begin at a multiple of it is copied by TensorFlow.
ALIGNMENT = 64

Array = NDArray[Any]
Item = TypeVar("Item")


def read_ahead(make: Callable[[], Iterator[Any]], batch: int) -> Iterator[Any]:
    """Batches of samples, in order; what goes wrong while reading is raised here as what it was.

    With `core_to_spare` a thread of its own reads ahead. A rank that computes on a single core
    reads a few batches between its steps instead: two threads that take turns on a core empty each
    other's caches, and reading then takes twice the time.

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

    def stacked() -> Generator[Any, None, None]:
        return _stacked(make(), batch)

    read = _from_thread if core_to_spare() else _few_at_once
    with closing(read(stacked)) as batches:
        for arrays in batches:
            yield tf.nest.map_structure(_tensor, arrays)


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


def _few_at_once(make: Callable[[], Iterator[Item]]) -> Generator[Item, None, None]:
    """Items, `BATCHES_AT_ONCE` of them made before the first of these is taken."""
    items = make()
    end: Exception | None = None
    while end is None:
        some: list[Item] = []
        try:
            while len(some) < BATCHES_AT_ONCE:
                some.append(next(items))
        except Exception as problem:  # Whatever it is comes after the items before it.
            end = problem
        yield from some
    if not isinstance(end, StopIteration):
        raise end


def _stacked(samples: Iterator[Any], batch: int) -> Generator[Any, None, None]:
    """Arrays of a whole batch, into which each sample is copied once; the last may be smaller."""
    held: Any = None
    count = 0
    for sample in samples:
        if held is None:
            held = tf.nest.map_structure(lambda array: _room(np.asarray(array), batch), sample)
        tf.nest.map_structure(lambda to, array, n=count: to.__setitem__(n, array), held, sample)
        count += 1
        if count == batch:
            yield held
            held, count = None, 0
    if count:
        yield tf.nest.map_structure(lambda array: array[:count], held)


def _room(sample: Array, batch: int) -> Array:
    """An empty array for a batch of such samples, where TensorFlow can use it as it is."""
    size = batch * sample.nbytes
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(sample.dtype).reshape(batch, *sample.shape)


def _tensor(array: Array) -> tf.Tensor:
    """The array itself as a tensor: nobody may write to it any more."""
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
