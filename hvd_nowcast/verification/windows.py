"""Which windows of an archive are scored, and their frames in physical units."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.shards.index import WindowIndex
from hvd_nowcast.shards.reader import CodeReader
from hvd_nowcast.shards.schema import Times

Array = NDArray[np.float32]
Window = tuple[np.datetime64, Array]


def choose_starts(index: WindowIndex, every_minutes: int, step_seconds: int) -> list[int]:
    """Windows whose newest input frame is at a multiple of some minutes of the day.

    Raises
    ------
    ConfigError
        When the number of minutes is not positive.
    """
    times = np.array([index.start_time(i) for i in range(len(index))], "datetime64[s]")
    return np.flatnonzero(at_multiples(times, every_minutes, step_seconds)).tolist()


def at_multiples(times: Times, every_minutes: int, step_seconds: int) -> NDArray[np.bool_]:
    """Which times are at a multiple of some minutes of the day.

    Times that are not on the full minute grid (00:02, 00:07, ...) count for the multiple that
    they are the first to follow.

    Raises
    ------
    ConfigError
        When the number of minutes is not positive.
    """
    if every_minutes < 1:
        raise ConfigError(f"--every {every_minutes}: give a positive number of minutes")
    seconds = times.astype("datetime64[s]").astype(np.int64)
    return seconds % 86400 % (60 * every_minutes) < step_seconds


def read_windows(
    index: WindowIndex, frames: CodeReader, table: Array, windows: Iterable[int]
) -> Iterator[Window]:
    """Start time and decoded frames, shape (t, y, x) with NaN where missing, of some windows."""
    for window in windows:
        codes = [
            frames.read_codes(piece.file, piece.start, piece.stop) for piece in index.pieces(window)
        ]
        yield index.start_time(window), table[np.concatenate(codes)]
