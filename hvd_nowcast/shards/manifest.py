"""``manifest.json``: what a folder of shards holds, and how each file must look byte for byte.

A damaged netCDF file may well read without an error, so the checksum decides.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dacite
import numpy as np

from hvd_nowcast.errors import ShardError
from hvd_nowcast.grid import Grid
from hvd_nowcast.shards.schema import QUANTITIES, Packing
from hvd_nowcast.shards.split import SPLITS
from hvd_nowcast.shards.writer import atomic_output

MANIFEST = "manifest.json"
FORMAT = 1
BUILD = "Build the shards with: hvd-nowcast shards build"


@dataclass(frozen=True)
class Segment:
    """An unbroken sequence of frames inside one shard.

    Attributes
    ----------
    start, frames
        First frame in the file, and how many.
    first_time
        ISO time of the first frame, UTC.
    event
        True for event data, which never continues in another segment.
    """

    start: int
    frames: int
    first_time: str
    event: bool = False


@dataclass(frozen=True)
class GridSummary:
    """What the training loop needs to know of the grid.

    Attributes
    ----------
    digest
        Hash of the whole grid.
    shape
        Rows and columns.
    spacing
        Pixel size in metres.
    """

    digest: str
    shape: tuple[int, int]
    spacing: float

    @classmethod
    def of(cls, grid: Grid) -> GridSummary:
        """Summary of a grid."""
        return cls(grid.digest, grid.shape, grid.spacing)


@dataclass(frozen=True)
class ShardEntry:
    """One shard.

    Attributes
    ----------
    file
        Name inside the folder.
    bytes, sha256
        Size and checksum of the file.
    split
        ``train``, ``validation`` or ``test``.
    frames
        Number of frames.
    segments
        Its unbroken sequences, in file order.
    wet_fraction
        Share of valid pixels with rain, per frame, three decimals.
    """

    file: str
    bytes: int
    sha256: str
    split: str
    frames: int
    segments: tuple[Segment, ...]
    wet_fraction: tuple[float, ...]


@dataclass(frozen=True)
class Companion:
    """Another file of the folder that belongs to the shards.

    Attributes
    ----------
    file, bytes, sha256
        Name, size and checksum.
    """

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A whole folder of shards.

    Attributes
    ----------
    quantity
        Name in ``QUANTITIES``.
    step_seconds
        Time between frames.
    grid
        The same for all shards.
    packing
        The same for all shards.
    shards
        In time order.
    source
        Where the data came from: format, files, attributes.
    companions
        Other files that belong to them.
    """

    quantity: str
    step_seconds: int
    grid: GridSummary
    packing: Packing
    shards: tuple[ShardEntry, ...]
    source: dict[str, Any]
    companions: tuple[Companion, ...] = ()

    @classmethod
    def load(cls, folder: str | Path) -> Manifest:
        """Read the manifest of a folder.

        Raises
        ------
        ShardError
            When it is missing, damaged, or names files outside the folder.
        """
        path = Path(folder) / MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("format") != FORMAT or content["quantity"] not in QUANTITIES:
                raise ValueError("made by another version of this program")
            manifest = dacite.from_dict(cls, content, dacite.Config(strict=True, cast=[tuple]))
            _require_consistent(manifest)
        except FileNotFoundError as problem:
            raise ShardError(path, "there is no manifest", BUILD) from problem
        except (OSError, ValueError, KeyError, TypeError, dacite.DaciteError) as problem:
            raise ShardError(path, f"not a readable manifest ({problem})", BUILD) from problem
        for file in [entry.file for entry in manifest.shards] + [
            entry.file for entry in manifest.companions
        ]:
            shard_path(folder, file)
        return manifest

    def save(self, folder: str | Path) -> None:
        """Write the manifest, at once or not at all."""
        with atomic_output(Path(folder) / MANIFEST) as aside:
            text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1)
            aside.write_text(text + "\n", encoding="utf-8")


def _require_consistent(manifest: Manifest) -> None:
    """Refuse what no build writes, so that nobody after this has to ask."""
    if manifest.step_seconds <= 0 or min(manifest.grid.shape) < 1:
        raise ValueError("its time step or grid is not positive")
    for entry in manifest.shards:
        if entry.split not in SPLITS:
            raise ValueError(f"{entry.file} is of the unknown split {entry.split!r}")
        ends = [0, *(segment.start + segment.frames for segment in entry.segments)]
        starts = [*(segment.start for segment in entry.segments), entry.frames]
        if ends != starts or len(entry.wet_fraction) != entry.frames:
            raise ValueError(f"the frames of {entry.file} do not add up")
        if any(np.isnat(np.datetime64(segment.first_time)) for segment in entry.segments):
            raise ValueError(f"a segment of {entry.file} has no time")


def shard_path(folder: str | Path, file: str) -> Path:
    """Path of a shard, which must lie inside its folder.

    Raises
    ------
    ShardError
        When the name leads out of the folder, by ``..``, an absolute path or a link.
    """
    root = Path(folder).resolve()
    path = (root / file).resolve()
    if path.parent != root:
        raise ShardError(
            Path(folder) / MANIFEST, f"the shard {file!r} lies outside the folder", BUILD
        )
    return path


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def verify_bytes(folder: str | Path, entry: ShardEntry | Companion) -> None:
    """Compare size and checksum of a shard with the manifest.

    Raises
    ------
    ShardError
        When the file is missing, unreadable, or not byte for byte what was built.
    """
    path = Path(folder) / entry.file
    remedy = "Build it again, or move it aside with: hvd-nowcast shards check --quarantine"
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            raise ShardError(path, f"expected {entry.bytes} bytes, got {size}", remedy)
        if file_digest(path) != entry.sha256:
            raise ShardError(path, "its checksum is not the manifest's: it is damaged", remedy)
    except OSError as problem:
        raise ShardError(path, f"cannot be read ({problem.strerror})", remedy) from problem
