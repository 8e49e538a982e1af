"""Frames that were read once, kept as they were decompressed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate, pairwise
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
        # Frames that follow each other lie behind each other, so a window is one read.
        counts = {entry.file: entry.frames for entry in manifest.shards}
        self._first = dict(zip(counts, accumulate(counts.values(), initial=0), strict=False))
        self._kept = {file: np.zeros(count, bool) for file, count in counts.items()}

    def read_codes(self, file: str, start: int, stop: int) -> Codes:
        """Stored codes of some frames of one file, shape (frames, y, x).

        Raises
        ------
        ShardError
            When they cannot be read, or are not what the manifest says.
        """
        kept = self._kept[file]
        if not 0 <= start < stop <= len(kept):
            return self._frames.read_codes(file, start, stop)
        # As they are now: another thread may keep some of them meanwhile.
        runs = list(_runs(kept[start:stop].copy()))
        parts = [self._run(file, start + first, start + end, now) for first, end, now in runs]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run(self, file: str, start: int, stop: int, kept: bool) -> Codes:
        """Frames that are all kept, or all not."""
        place = self._bytes * (self._first[file] + start)
        if kept:
            codes = self._scratch.read(place, (stop - start, *self._shape), self._dtype)
            if codes is not None:
                return codes
        codes = self._decompressed(file, start, stop)
        self._kept[file][start:stop] = self._scratch.keep(codes, place) is not None
        return codes

    def _decompressed(self, file: str, start: int, stop: int) -> Codes:
        codes = self._frames.read_codes(file, start, stop)
        if codes.shape[1:] != self._shape or codes.dtype != self._dtype:
            raise ShardError(
                Path(file),
                f"holds {codes.dtype} frames of {codes.shape[1:]}, but the manifest says "
                f"{self._dtype} frames of {self._shape}",
                REBUILD,
            )
        return np.ascontiguousarray(codes)


def _runs(kept: NDArray[np.bool_]) -> Iterator[tuple[int, int, bool]]:
    """First and behind the last of frames that are all kept, or all not, and which of both."""
    edges = [0, *(np.flatnonzero(kept[1:] != kept[:-1]) + 1).tolist(), len(kept)]
    return ((first, end, bool(kept[first])) for first, end in pairwise(edges))
