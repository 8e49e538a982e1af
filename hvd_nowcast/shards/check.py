"""Verify every shard of a folder, each in a process of its own.

A damaged HDF5 file can crash the library that reads it, so reading happens in a child process; a
child that dies is one more bad shard, not the end of the check.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import cpu_count
from pathlib import Path

import numpy as np

from hvd_nowcast import console
from hvd_nowcast.errors import HvdNowcastError, ShardError
from hvd_nowcast.shards.index import segments_of
from hvd_nowcast.shards.manifest import Companion, GridSummary, Manifest, ShardEntry, verify_bytes
from hvd_nowcast.shards.reader import ShardReader
from hvd_nowcast.shards.scene import SceneManifest, is_scene
from hvd_nowcast.shards.schema import QUANTITIES
from hvd_nowcast.shards.writer import output_error

QUARANTINE = "quarantine"
LONGEST_CHECK_SECONDS = 600


@dataclass(frozen=True)
class CheckResult:
    """Verdict on one shard.

    Attributes
    ----------
    file
        Name inside the folder.
    frames
        Frames that the manifest announces.
    problem
        What is wrong, None when nothing is.
    """

    file: str
    frames: int
    problem: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the shard may be used."""
        return self.problem is None


def check_shards(folder: str | Path, quarantine: bool = False) -> list[CheckResult]:
    """Verify all shards of a folder against its manifest.

    Parameters
    ----------
    folder
        Folder with ``manifest.json``.
    quarantine
        Move bad shards into ``FOLDER/quarantine`` and drop them from the manifest.

    Returns
    -------
    list of CheckResult
        One per shard, in the manifest's order, and one per companion.

    Raises
    ------
    ShardError
        When there is no readable manifest.
    OutputError
        When a bad shard cannot be moved.
    """
    root = Path(folder)
    if is_scene(root):
        return [_check_companion(root, SceneManifest.load(root).scene)]
    manifest = Manifest.load(root)
    with ThreadPoolExecutor(max_workers=cpu_count()) as workers:
        checks = workers.map(lambda entry: _check_in_child(root, entry), manifest.shards)
        watched = console.progress(checks, "checking", len(manifest.shards), "shard")
        results = [*watched, *(_check_companion(root, entry) for entry in manifest.companions)]
    if quarantine and not all(result.ok for result in results):
        _move_aside(root, manifest, [result.file for result in results if not result.ok])
    return results


def check_shard(folder: Path, manifest: Manifest, entry: ShardEntry) -> None:
    """Verify one shard: bytes, header, times, and every frame.

    Raises
    ------
    ShardError
        With the first thing that is wrong.
    """
    verify_bytes(folder, entry)
    path = folder / entry.file
    rebuild = "Build it again"
    with ShardReader(path) as reader:
        header = reader.header
        ours = (header.quantity, header.packing, GridSummary.of(header.grid), len(header.times))
        theirs = (manifest.quantity, manifest.packing, manifest.grid, entry.frames)
        for name, came, expected in zip(
            ("quantity", "packing", "grid", "number of frames"), ours, theirs, strict=True
        ):
            if came != expected:
                raise ShardError(path, f"its {name} is {came}, expected {expected}", rebuild)
        event = any(segment.event for segment in entry.segments)
        if segments_of(header.times, header.sequence, event) != entry.segments:
            raise ShardError(path, "its times are not those of the manifest", rebuild)
        steps = np.diff(header.times).astype(np.int64)[np.diff(header.sequence) == 0]
        if (steps != manifest.step_seconds).any():
            raise ShardError(path, "a sequence has another time step than the manifest", rebuild)
        kind, table = QUANTITIES[header.quantity], header.packing.table()
        for frame in range(entry.frames):
            values = table[reader.read_codes(frame, frame + 1)]
            values = values[~np.isnan(values)]
            if len(values) and not kind.valid_min <= values.min() <= values.max() <= kind.valid_max:
                raise ShardError(path, f"frame {frame} holds impossible values", rebuild)


def _check_companion(folder: Path, entry: Companion) -> CheckResult:
    try:
        verify_bytes(folder, entry)
    except ShardError as problem:
        return CheckResult(entry.file, 0, problem.problem)
    return CheckResult(entry.file, 0)


def _check_in_child(folder: Path, entry: ShardEntry) -> CheckResult:
    command = [sys.executable, "-m", __name__, str(folder), entry.file]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=LONGEST_CHECK_SECONDS
        )
    except subprocess.TimeoutExpired:
        return CheckResult(entry.file, entry.frames, "reading it does not end")
    if done.returncode == 0:
        return CheckResult(entry.file, entry.frames)
    if done.returncode < 0:
        problem = f"reading it crashes the library (signal {-done.returncode})"
        return CheckResult(entry.file, entry.frames, problem)
    lines = done.stdout.splitlines() or done.stderr.splitlines() or ["no reason given"]
    return CheckResult(entry.file, entry.frames, lines[-1])


def _move_aside(folder: Path, manifest: Manifest, bad: Sequence[str]) -> None:
    # The manifest first: a crash in between leaves an unlisted file, never a listed gap.
    kept = tuple(entry for entry in manifest.shards if entry.file not in bad)
    beside = tuple(entry for entry in manifest.companions if entry.file not in bad)
    replace(manifest, shards=kept, companions=beside).save(folder)
    target = folder / QUARANTINE
    try:
        target.mkdir(exist_ok=True)
        for file in bad:
            if (folder / file).exists():
                (folder / file).rename(target / file)
        reasons = json.dumps({"moved": list(bad)}, indent=1)
        (target / "moved.json").write_text(reasons + "\n", encoding="utf-8")
    except OSError as problem:
        raise output_error(target, problem) from problem


def main(arguments: Sequence[str]) -> int:
    """Child process: check one shard, and say on standard output what is wrong."""
    folder, file = Path(arguments[0]), arguments[1]
    manifest = Manifest.load(folder)
    (entry,) = (entry for entry in manifest.shards if entry.file == file)
    try:
        check_shard(folder, manifest, entry)
    except HvdNowcastError as problem:
        console.say(problem.problem if isinstance(problem, ShardError) else str(problem))
        return problem.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
