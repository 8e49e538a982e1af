"""Frames that were read last, kept in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np

from hvd_nowcast.shards.reader import CodeReader
from hvd_nowcast.shards.schema import Codes

CACHE_BYTES = 256 << 20


class FrameCache:
    """Frames of several archives that were read last, up to a number of bytes.

    A sample is a small square of a window, and of a large radar all of its frames are read for it:
    to read these again for each sample takes longer than to train on it.

    Parameters
    ----------
    limit
        Bytes.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit = limit
        self._held: OrderedDict[tuple[str, int], Codes] = OrderedDict()
        self._bytes = 0
        # A validation reads while the next training samples are read ahead.
        self._lock = threading.Lock()

    def through(self, frames: CodeReader) -> CodeReader:
        """The same frames, looked for here first."""
        return _CachedReader(frames, self)

    def find(self, key: tuple[str, int]) -> Codes | None:
        """A frame, when it is held."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def hold(self, key: tuple[str, int], frame: Codes) -> None:
        """Keep a frame, and let go of those that were not used for longest."""
        with self._lock:
            if key in self._held:
                return
            self._held[key] = frame
            self._bytes += frame.nbytes
            while self._bytes > self._limit:
                self._bytes -= self._held.popitem(last=False)[1].nbytes


class _CachedReader:
    def __init__(self, frames: CodeReader, cache: FrameCache) -> None:
        self._frames, self._cache = frames, cache

    def read_codes(self, file: str, start: int, stop: int) -> Codes:
        found = [self._cache.find((file, number)) for number in range(start, stop)]
        absent = [number for number, frame in enumerate(found, start) if frame is None]
        if absent:
            first = absent[0]
            for number, frame in enumerate(
                self._frames.read_codes(file, first, absent[-1] + 1), first
            ):
                # A copy: a part of the window would keep all of it.
                own = found[number - start] = frame.copy()
                self._cache.hold((file, number), own)
        return np.stack([frame for frame in found if frame is not None])
