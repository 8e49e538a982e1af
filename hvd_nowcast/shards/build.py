"""From a source of frames to a folder of shards: plan the files, write them, the manifest last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hvd_nowcast import console
from hvd_nowcast.errors import InputError
from hvd_nowcast.shards.convert.source import FrameSource, checked
from hvd_nowcast.shards.index import segments_of
from hvd_nowcast.shards.manifest import Companion, GridSummary, Manifest, ShardEntry, file_digest
from hvd_nowcast.shards.output_folder import output_folder
from hvd_nowcast.shards.schema import QUANTITIES, Codes, ShardHeader
from hvd_nowcast.shards.split import DROPPED, SPLITS, SplitRule
from hvd_nowcast.shards.writer import write_shard

FRAMES_PER_SHARD = 288


class _Plan(NamedTuple):
    """One shard to be written: its name, split and frames of the source."""

    file: str
    split: str
    frames: NDArray[np.int64]


def build_shards(
    source: FrameSource, out: str | Path, split: SplitRule, frames_per_shard: int = FRAMES_PER_SHARD
) -> Manifest:
    """Write all shards of a source and their manifest.

    The manifest comes last: a folder without one is unfinished, and building into it again starts
    over. A build that fails takes away what it wrote.

    Parameters
    ----------
    source
        The frames.
    out
        A new or empty folder, or one of a build that was killed.
    split
        Which frames are for what.
    frames_per_shard
        At most so many frames go into one file, except that an event is never cut.

    Raises
    ------
    InputError
        When frames are unusable, or none falls into a split.
    OutputError
        When the folder is taken or cannot be written.
    """
    folder = Path(out)
    plans = plan_shards(source, split, frames_per_shard)
    with output_folder(folder):
        manifest = Manifest(
            source.quantity,
            source.step_seconds,
            GridSummary.of(source.grid),
            source.packing,
            _write_all(source, plans, folder),
            _origin(source),
            _write_companions(source, folder),
        )
        manifest.save(folder)
    return manifest


def _write_all(source: FrameSource, plans: list[_Plan], folder: Path) -> tuple[ShardEntry, ...]:
    entries, masked, valid = [], 0, 0
    total = sum(len(plan.frames) for plan in plans)
    bar: tqdm[None] = console.progress(None, "shards", total, "frame")
    with bar:
        for plan in plans:
            writing = _ShardFrames(source, plan, bar)
            entries.append(_write(source, plan, writing, folder))
            masked, valid = masked + writing.masked, valid + writing.valid
    if not valid:
        raise InputError(
            source.files[0], "all pixels of all frames are missing", "Check its missing value"
        )
    if masked:
        console.warn(
            f"{masked} impossible pixels were marked as missing, of {masked + valid} in "
            f"{source.files[0].name} and the files after it"
        )
    return tuple(entries)


def _write_companions(source: FrameSource, folder: Path) -> tuple[Companion, ...]:
    for name, write in source.companions.items():
        write(folder / name)
    paths = [folder / name for name in source.companions]
    return tuple(Companion(p.name, p.stat().st_size, file_digest(p)) for p in paths)


def plan_shards(source: FrameSource, split: SplitRule, frames_per_shard: int) -> list[_Plan]:
    """Divide the frames into shards, none of which straddles a split.

    Raises
    ------
    InputError
        When no frame falls into a split.
    """
    where = split.assign(source.times, source.sequence, source.event)
    dropped = int((where == DROPPED).sum())
    if dropped == len(where):
        raise InputError(
            source.files[0],
            f"no frame between {source.times[0]} and {source.times[-1]} falls into a split",
            "Give other dates with --split",
        )
    if dropped:
        console.note(f"{dropped} of {len(where)} frames fall outside all splits and are left out")
    plans: list[_Plan] = []
    edges = np.flatnonzero(np.diff(where)) + 1
    for part in np.split(np.arange(len(where)), edges):
        if where[part[0]] == DROPPED:
            continue
        # Within a gapless archive every frame may start a shard, among events only their first.
        sequence = source.sequence[part] if source.event else np.arange(len(part))
        for frames in _pieces(part, sequence, frames_per_shard):
            stamp = str(source.times[frames[0]]).translate({ord(sign): None for sign in "-:"})
            plans.append(_Plan(f"{stamp}_{len(plans):05d}.nc", SPLITS[where[frames[0]]], frames))
    return plans


def _pieces(
    frames: NDArray[np.int64], sequence: NDArray[Any], limit: int
) -> list[NDArray[np.int64]]:
    """Parts of at most ``limit`` frames, cut only where the sequence changes."""
    cuts, start, before = [], 0, 0
    for end in (*(np.flatnonzero(np.diff(sequence)) + 1), len(frames)):
        if end - start > limit and before > start:
            cuts.append(before)
            start = before
        before = end
    return np.split(frames, cuts)


class _ShardFrames:
    """Reads, checks and packs the frames of one shard, and keeps count."""

    def __init__(self, source: FrameSource, plan: _Plan, bar: Any) -> None:
        self._source = source
        self._plan = plan
        self._bar = bar
        self.wet: list[float] = []
        self.masked = 0
        self.valid = 0

    def __iter__(self) -> Iterator[Codes]:
        self._bar.update(-len(self.wet))
        self.wet, self.masked, self.valid = [], 0, 0
        source = self._source
        threshold = QUANTITIES[source.quantity].wet_threshold
        for number in self._plan.frames:
            path = source.files[number]
            values, masked = checked(source.read(int(number)), source.quantity, path)
            valid = np.isfinite(values)
            count = int(valid.sum())
            self.masked, self.valid = self.masked + masked, self.valid + count
            self.wet.append(round(float((values[valid] >= threshold).sum()) / max(1, count), 3))
            yield self._encoded(values, path)
            self._bar.update()

    def _encoded(self, values: NDArray[np.float32], path: Path) -> Codes:
        try:
            return self._source.packing.encode(values)
        except ValueError as problem:
            raise InputError(path, str(problem), "Check the variable and its units") from problem


def _write(source: FrameSource, plan: _Plan, frames: _ShardFrames, folder: Path) -> ShardEntry:
    path = folder / plan.file
    times, sequence = source.times[plan.frames], source.sequence[plan.frames]
    header = ShardHeader(
        path, source.quantity, source.packing, source.grid, times, sequence, source.attributes
    )
    write_shard(header, frames)
    return ShardEntry(
        plan.file,
        path.stat().st_size,
        file_digest(path),
        plan.split,
        len(plan.frames),
        segments_of(times, sequence, source.event),
        tuple(frames.wet),
    )


def _origin(source: FrameSource) -> dict[str, Any]:
    names = sorted({path.name for path in source.files})
    return {**source.attributes, "files": names[:1000], "file_count": len(names)}
