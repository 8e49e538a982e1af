"""Copy shards to a disk of this node, each file checked by its checksum, none half written."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvd_nowcast import console
from hvd_nowcast.errors import OutputError, ShardError
from hvd_nowcast.shards.manifest import (
    MANIFEST,
    Companion,
    Manifest,
    ShardEntry,
    shard_path,
    verify_bytes,
)
from hvd_nowcast.shards.scene import SceneManifest, is_scene
from hvd_nowcast.shards.writer import atomic_output, output_error

Entry = ShardEntry | Companion
# What else a job writes on that disk while it runs.
SPARE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Staged:
    """What one node got.

    Attributes
    ----------
    files, bytes
        Files that were copied now, and their size.
    kept
        Files that were there already, and whole.
    left_out
        Shards that nobody on this node reads.
    """

    files: int
    bytes: int
    kept: int
    left_out: int


def stage_shards(
    folder: str | Path, target: Path, wanted: Collection[str] | None = None, quiet: bool = False
) -> Staged:
    """Copy a folder of shards, or those of its shards that are wanted.

    The manifest is copied whole, and last: samples are numbered over all shards, so a copy of some
    gives the same training. A file that is there already, and whole, is not copied again.

    Parameters
    ----------
    folder
        Shards of any kind.
    target
        Folder on a disk of this node.
    wanted
        Files to copy; all when None.
    quiet
        Whether another process of the job shows the progress.

    Raises
    ------
    ShardError
        When a shard is damaged, here or after the copy.
    OutputError
        When the files do not fit, before anything is copied, or cannot be written.
    """
    source = Path(folder)
    entries = list_entries(source)
    chosen = [entry for entry in entries if wanted is None or entry.file in wanted]
    _make_folder(source, target)
    missing = [entry for entry in chosen if not _is_there(target, entry)]
    _require_space(target, missing)
    for entry in console.progress(missing, "staging", len(missing), "shard", hidden=quiet):
        _copy(source, target, entry)
    with atomic_output(target / MANIFEST) as aside:
        shutil.copyfile(source / MANIFEST, aside)
    copied = sum(entry.bytes for entry in missing)
    return Staged(len(missing), copied, len(chosen) - len(missing), len(entries) - len(chosen))


def list_entries(folder: Path) -> list[Entry]:
    """All files of a folder of shards but the manifest.

    Raises
    ------
    ShardError
        When there is no readable manifest.
    """
    if is_scene(folder):
        return [SceneManifest.load(folder).scene]
    manifest = Manifest.load(folder)
    return [*manifest.shards, *manifest.companions]


def _make_folder(source: Path, target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
        if target.resolve() == source.resolve():
            raise OutputError(f"{target}: the shards lie there already; choose a disk of the node")
    except OSError as problem:
        raise output_error(target, problem) from problem


def _is_there(target: Path, entry: Entry) -> bool:
    if not (target / entry.file).exists():
        return False
    try:
        verify_bytes(target, entry)
    except ShardError:
        return False
    return True


def _require_space(target: Path, entries: Sequence[Entry]) -> None:
    needed = sum(entry.bytes for entry in entries)
    free = shutil.disk_usage(target).free
    if needed and needed + SPARE_BYTES > free:
        raise OutputError(
            f"{target}: {needed / 2**20:.0f} MiB of shards do not fit, {free / 2**20:.0f} MiB are "
            f"free and {SPARE_BYTES >> 20} of them are left to the job. Nothing was copied: choose "
            "a larger disk, or read the shards where they are"
        )


def _copy(source: Path, target: Path, entry: Entry) -> None:
    origin = shard_path(source, entry.file)
    with atomic_output(target / entry.file) as aside:
        try:
            shutil.copyfile(origin, aside)
        except FileNotFoundError as problem:
            raise ShardError(origin, "it is missing", "Build the shards again") from problem
        copy = Companion(aside.name, entry.bytes, entry.sha256)
        try:
            verify_bytes(target, copy)
        except ShardError as problem:
            remedy = "Look at the original with: hvd-nowcast shards check"
            raise ShardError(target / entry.file, problem.problem, remedy) from problem
