"""Frames that were read once, kept as they were decompressed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import ShardError
from hvd_nowcast.loader.scratch import ScratchFile
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.reader import REBUILD, CodeReader
from hvd_nowcast.shards.schema import Codes

# Of all archives of a rank, on a disk; see `ScratchFile` for less.
CACHE_BYTES = 4 << 30
_ABSENT = -1


class FrameCache:
    """Frames of an archive, decompressed and changed once: from then on a scratch file has them.

    A training sees each frame in many windows and epochs. To decompress the frames of a window
    takes ten times the processor time of reading them, and the processor is what a rank trains on.

    Parameters
    ----------
    frames
        Reads them.
    manifest
        What they are.
    limit
        Bytes that may be kept, see `ScratchFile`.
    """

    def __init__(self, frames: CodeReader, manifest: Manifest, limit: int = CACHE_BYTES) -> None:
        self._frames = frames
        self._shape, self._dtype = manifest.grid.shape, np.dtype(manifest.packing.dtype)
        self._bytes = math.prod(self._shape) * self._dtype.itemsize
        self._scratch = ScratchFile(limit)
        # Two threads may read and keep the same frame: then it lies at two places, both good.
        self._places = {
            entry.file: np.full(entry.frames, _ABSENT, np.int64) for entry in manifest.shards
        }

    def read_codes(self, file: str, start: int, stop: int) -> Codes:
        """Stored codes of some frames of one file, shape (frames, y, x).

        Raises
        ------
        ShardError
            When they cannot be read, or are not what the manifest says.
        """
        places = self._places[file][start:stop]
        if not 0 <= start < stop <= len(self._places[file]):
            return self._frames.read_codes(file, start, stop)
        codes = np.empty((stop - start, *self._shape), self._dtype)
        # As they are now: another thread may keep some of them meanwhile.
        known = places.copy()
        for first, end in self._runs(known):
            run, place = codes[first:end], int(known[first])
            if place == _ABSENT or not self._scratch.read(run, place):
                run[:] = self._decompressed(file, start + first, start + end)
                self._keep(run, places[first:end])
        return codes

    def _runs(self, places: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Frames that are all absent, or follow each other in the scratch file."""
        before, after = places[:-1], places[1:]
        wanted = np.where(before == _ABSENT, _ABSENT, before + self._bytes)
        edges = np.flatnonzero(after != wanted) + 1
        return pairwise([0, *edges.tolist(), len(places)])

    def _decompressed(self, file: str, start: int, stop: int) -> Codes:
        codes = self._frames.read_codes(file, start, stop)
        if codes.shape[1:] != self._shape or codes.dtype != self._dtype:
            raise ShardError(
                Path(file),
                f"holds {codes.dtype} frames of {codes.shape[1:]}, but the manifest says "
                f"{self._dtype} frames of {self._shape}",
                REBUILD,
            )
        return codes

    def _keep(self, codes: Codes, places: NDArray[np.int64]) -> None:
        place = self._scratch.keep(codes)
        if place is not None:
            places[:] = place + self._bytes * np.arange(len(codes))
