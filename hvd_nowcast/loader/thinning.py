"""An archive as if only every so many of its frames were there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.shards.manifest import Manifest, Segment, ShardEntry
from hvd_nowcast.shards.reader import CodeReader
from hvd_nowcast.shards.schema import Codes

Integers = NDArray[np.int64]


class ThinnedReader:
    """The frames of an archive that are left, by their new numbers.

    Parameters
    ----------
    frames
        Reads all frames.
    kept
        Old numbers of the frames that are left of each file, rising.
    """

    def __init__(self, frames: CodeReader, kept: dict[str, Integers]) -> None:
        self._frames, self._kept = frames, kept

    def read_codes(self, file: str, start: int, stop: int) -> Codes:
        """Stored codes of some of the frames that are left, shape (frames, y, x)."""
        wanted = self._kept[file][start:stop]
        found = [self._frames.read_codes(file, frame, frame + 1) for frame in wanted.tolist()]
        return np.concatenate(found)


def thinned(
    manifest: Manifest, frames: CodeReader, step_seconds: int
) -> tuple[Manifest, CodeReader]:
    """An archive at a longer time step: the frames at multiples of it in the day.

    Parameters
    ----------
    manifest, frames
        The archive.
    step_seconds
        A multiple of its own step.
    """
    if manifest.step_seconds == step_seconds:
        return manifest, frames
    if step_seconds % manifest.step_seconds:
        raise ValueError(f"{step_seconds} s is no multiple of {manifest.step_seconds} s")
    thinner = [_thinned(entry, manifest.step_seconds, step_seconds) for entry in manifest.shards]
    left = replace(manifest, step_seconds=step_seconds, shards=tuple(entry for entry, _ in thinner))
    return left, ThinnedReader(frames, {entry.file: kept for entry, kept in thinner})


def _thinned(entry: ShardEntry, step: int, new_step: int) -> tuple[ShardEntry, Integers]:
    segments, kept = [], [np.zeros(0, np.int64)]
    start = 0
    for segment in entry.segments:
        left = _left(segment, step, new_step)
        if len(left):
            after = np.timedelta64(int(left[0] - segment.start) * step, "s")
            first = np.datetime64(segment.first_time, "s") + after
            segments.append(Segment(start, len(left), str(first), segment.event))
        kept.append(left)
        start += len(left)
    frames = np.concatenate(kept)
    wet = tuple(entry.wet_fraction[frame] for frame in frames)
    return replace(entry, frames=start, segments=tuple(segments), wet_fraction=wet), frames


def _left(segment: Segment, step: int, new_step: int) -> Integers:
    """Numbers of the frames of a segment that are left."""
    if segment.event:
        return segment.start + np.arange(0, segment.frames, new_step // step)
    begin = np.datetime64(segment.first_time, "s").astype(np.int64)
    # Radars stamp their frames a little off the full minute: the first at or after it counts.
    late = (begin + step * np.arange(segment.frames)) % 86400 % new_step < step
    return segment.start + np.flatnonzero(late)
