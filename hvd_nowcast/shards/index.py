"""Which frames make a sample: sizes and times in, slices out, no file is touched."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.shards.manifest import Manifest, Segment, ShardEntry


class FrameRange(NamedTuple):
    """Frames ``[start, stop)`` of one shard."""

    file: str
    start: int
    stop: int


@dataclass(frozen=True)
class _Run:
    """Frames that follow each other without a gap, over one or more shards.

    Attributes
    ----------
    shard, frame
        Shard number and frame number of each frame of the run.
    first_time
        Time of its first frame.
    """

    shard: NDArray[np.int32]
    frame: NDArray[np.int32]
    first_time: np.datetime64


class WindowIndex:
    """All windows of a split, in time order.

    Parameters
    ----------
    manifest
        The archive.
    runs
        Its unbroken runs of frames.
    frames_in, frames_out
        A window has their sum.
    stride
        Frames between the starts of two windows.
    """

    def __init__(
        self, manifest: Manifest, runs: list[_Run], frames_in: int, frames_out: int, stride: int
    ) -> None:
        self._manifest = manifest
        self._runs = runs
        self._frames_in = frames_in
        self._length = frames_in + frames_out
        starts = [np.arange(0, len(run.frame) - self._length + 1, stride) for run in runs]
        self._start = np.concatenate([np.zeros(0, np.int64), *starts])
        self._run = np.repeat(np.arange(len(runs)), [len(start) for start in starts])
        self.wet_fraction = self._mean_wet_fraction(starts)

    def __len__(self) -> int:
        """Number of windows."""
        return len(self._start)

    def pieces(self, window: int) -> tuple[FrameRange, ...]:
        """Where the frames of a window lie, in time order; more than one across shards."""
        run = self._runs[self._run[window]]
        part = slice(self._start[window], self._start[window] + self._length)
        shards, frames = run.shard[part], run.frame[part]
        # Mostly one shard, which the loader need not be slow to find.
        one = shards[0] == shards[-1]
        edges = [] if one else (np.flatnonzero(shards[1:] != shards[:-1]) + 1).tolist()
        return tuple(
            FrameRange(
                self._manifest.shards[shards[first]].file,
                int(frames[first]),
                int(frames[end - 1]) + 1,
            )
            for first, end in pairwise([0, *edges, self._length])
        )

    def start_time(self, window: int) -> np.datetime64:
        """Time of the last input frame, the forecast's reference time."""
        run = self._runs[self._run[window]]
        steps = int(self._start[window]) + self._frames_in - 1
        return run.first_time + np.timedelta64(steps * self._manifest.step_seconds, "s")

    @property
    def frame_pixels(self) -> NDArray[np.int64]:
        """Pixels of the frames of each window, shape ``(windows,)``."""
        rows, columns = self._manifest.grid.shape
        return np.full(len(self), rows * columns)

    @property
    def shard_count(self) -> int:
        """Shards of the archive."""
        return len(self._manifest.shards)

    def within(self, periods: Sequence[tuple[str, str]]) -> WindowIndex:
        """The windows whose reference time lies in one of some periods.

        Parameters
        ----------
        periods
            ISO times of beginnings and ends (excluded).
        """
        times = np.array([self.start_time(window) for window in range(len(self))], "M8[s]")
        inside = np.zeros(len(self), bool)
        for first, last in periods:
            inside |= (times >= np.datetime64(first, "s")) & (times < np.datetime64(last, "s"))
        part = copy.copy(self)
        part._start, part._run = self._start[inside], self._run[inside]
        part.wet_fraction = self.wet_fraction[inside]
        return part

    def shards(self) -> NDArray[np.int32]:
        """Number of the shard that holds the first frame of each window, shape ``(windows,)``."""
        found = np.zeros(len(self), np.int32)
        for number, run in enumerate(self._runs):
            mine = self._run == number
            found[mine] = run.shard[self._start[mine]]
        return found

    def _mean_wet_fraction(self, starts: list[NDArray[np.int64]]) -> NDArray[np.float32]:
        means = [np.zeros(0, np.float32)]
        for run, start in zip(self._runs, starts, strict=True):
            wet = np.array(
                [
                    self._manifest.shards[shard].wet_fraction[frame]
                    for shard, frame in zip(run.shard, run.frame, strict=True)
                ]
            )
            sums = np.concatenate([[0.0], np.cumsum(wet)])
            means.append((sums[start + self._length] - sums[start]) / self._length)
        return np.concatenate(means).astype(np.float32)


class JointIndex:
    """The windows of several archives, one archive after the other.

    Parameters
    ----------
    parts
        The windows of each archive; an archive may have none.
    """

    def __init__(self, parts: Sequence[WindowIndex]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self.wet_fraction = np.concatenate([part.wet_fraction for part in parts])
        self.frame_pixels = np.concatenate([part.frame_pixels for part in parts])

    def __len__(self) -> int:
        """Number of windows."""
        return int(self._ends[-1])

    def archive(self, window: int) -> int:
        """Number of the archive that holds a window."""
        return int(np.searchsorted(self._ends, window, side="right"))

    def pieces(self, window: int) -> tuple[FrameRange, ...]:
        """Where the frames of a window lie, see `WindowIndex`."""
        number = self.archive(window)
        part = self._parts[number]
        return part.pieces(window - int(self._ends[number]) + len(part))

    def shards(self) -> NDArray[np.int32]:
        """Number of the shard of each window, all archives counted through."""
        before = np.cumsum([0, *(part.shard_count for part in self._parts[:-1])])
        numbers = [p.shards() + first for p, first in zip(self._parts, before, strict=True)]
        return np.concatenate(numbers).astype(np.int32)


def build_index(
    manifest: Manifest, split: str, frames_in: int, frames_out: int, stride: int = 1
) -> WindowIndex:
    """Find all windows of a split.

    A window never crosses a gap in time, an event or a split; it may cross from one shard into
    the next where that one continues without a gap.

    Parameters
    ----------
    manifest
        The archive.
    split
        ``train``, ``validation`` or ``test``.
    frames_in, frames_out
        Frames seen and frames predicted.
    stride
        Frames between the starts of two windows.
    """
    segments = [
        (number, segment)
        for number, entry in enumerate(manifest.shards)
        if entry.split == split
        for segment in entry.segments
    ]
    runs = [_run(group) for group in _joined(segments, manifest.step_seconds)]
    return WindowIndex(manifest, runs, frames_in, frames_out, stride)


def _joined(
    segments: list[tuple[int, Segment]], step_seconds: int
) -> Iterator[list[tuple[int, Segment]]]:
    group: list[tuple[int, Segment]] = []
    for number, segment in sorted(segments, key=lambda item: (item[1].first_time, item[0])):
        if group and not _follows(group[-1][1], segment, step_seconds):
            yield group
            group = []
        group.append((number, segment))
    if group:
        yield group


def _follows(before: Segment, after: Segment, step_seconds: int) -> bool:
    if before.event or after.event:
        return False
    length = np.timedelta64(before.frames * step_seconds, "s")
    return bool(
        np.datetime64(before.first_time, "s") + length == np.datetime64(after.first_time, "s")
    )


def _run(group: list[tuple[int, Segment]]) -> _Run:
    shard = np.concatenate([np.full(segment.frames, number) for number, segment in group])
    frame = np.concatenate(
        [np.arange(segment.start, segment.start + segment.frames) for _, segment in group]
    )
    first_time = np.datetime64(group[0][1].first_time, "s")
    return _Run(shard.astype(np.int32), frame.astype(np.int32), first_time)


def segments_of(
    times: NDArray[np.datetime64], sequence: NDArray[np.int32], event: bool
) -> tuple[Segment, ...]:
    """Unbroken sequences of a shard's frames."""
    edges = np.flatnonzero(np.diff(sequence)) + 1
    return tuple(
        Segment(int(part[0]), len(part), str(times[part[0]].astype("datetime64[s]")), event)
        for part in np.split(np.arange(len(times)), edges)
        if len(part)
    )


__all__ = ["FrameRange", "JointIndex", "ShardEntry", "WindowIndex", "build_index", "segments_of"]
