"""Archives of shards side by side: brought to one time step, one pixel size and one packing.

Then a batch is one array of codes, whichever archives its samples come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import ShardError
from hvd_nowcast.loader.assignment import spread_evenly
from hvd_nowcast.loader.frame_cache import CACHE_BYTES, FrameCache
from hvd_nowcast.loader.resampling import (
    LARGEST_SPACING_CHANGE,
    CodeResampler,
    largest_value,
    recoding_table,
    resampled_shape,
)
from hvd_nowcast.loader.thinning import thinned
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.reader import CodeReader, ReaderPool
from hvd_nowcast.shards.schema import QUANTITIES, Codes, Packing

# Frames that are looked at to see where an archive has data.
LOOKS = 12
OPEN_FILES = 8


@dataclass(frozen=True)
class Archive:
    """An archive as it is read.

    Attributes
    ----------
    folder
        Where it lies.
    manifest
        What it holds, as it is read.
    frames
        Reads its frames.
    close
        Closes its files.
    """

    folder: Path
    manifest: Manifest
    frames: CodeReader
    close: Callable[[], None]


class ChangedReader:
    """Stored frames that are changed as they are read.

    Parameters
    ----------
    frames
        Reads them.
    change
        What is done to the codes (frames, y, x).
    """

    def __init__(self, frames: CodeReader, change: Callable[[Codes], Codes]) -> None:
        self._frames, self._change = frames, change

    def read_codes(self, file: str, start: int, stop: int) -> Codes:
        """Changed codes of some frames, shape (frames, y, x)."""
        return self._change(self._frames.read_codes(file, start, stop))


class JointReader:
    """Frames of several archives, whose files are named with their folder.

    Parameters
    ----------
    archives
        Of `open_archives`.
    """

    def __init__(self, archives: Sequence[Archive]) -> None:
        self._frames = {
            entry.file: archive.frames for archive in archives for entry in archive.manifest.shards
        }

    def read_codes(self, file: str, start: int, stop: int) -> Codes:
        """Stored codes of some frames of one file, shape (frames, y, x)."""
        return self._frames[file].read_codes(file, start, stop)


class _InFolder:
    """Frames of a folder, whose files are named with it."""

    def __init__(self, pool: ReaderPool) -> None:
        self._pool = pool

    def read_codes(self, file: str, start: int, stop: int) -> Codes:
        return self._pool.read_codes(Path(file).name, start, stop)


def open_archives(folders: Sequence[Path]) -> tuple[Archive, ...]:
    """Open the archives of a training.

    One archive is read as it is. Several take the longest time step among them, the pixel size of
    the first, and the finest packing that holds their quantity; their frames are cut down to the
    rectangle in which they have data.

    Raises
    ------
    ShardError
        When one cannot be read, or does not fit the others.
    """
    manifests = [Manifest.load(folder) for folder in folders]
    pools = [ReaderPool(folder, max(1, OPEN_FILES // len(folders))) for folder in folders]
    if len(folders) == 1:
        frames = FrameCache(pools[0], manifests[0], CACHE_BYTES)
        return (Archive(folders[0], manifests[0], frames, pools[0].close),)
    slowest = max(range(len(folders)), key=lambda number: manifests[number].step_seconds)
    for folder, manifest in zip(folders, manifests, strict=True):
        _require_quantity(folder, manifest, folders[0], manifests[0])
        _require_step(folder, manifest, folders[slowest], manifests[slowest])
    packing = common_packing([m.packing for m in manifests], manifests[0].quantity)
    step, spacing = manifests[slowest].step_seconds, manifests[0].grid.spacing
    archives = []
    for folder, manifest, pool in zip(folders, manifests, pools, strict=True):
        named = tuple(replace(e, file=str(folder / e.file)) for e in manifest.shards)
        there = replace(manifest, shards=named), _InFolder(pool)
        seen, changed = repacked(*trimmed(*thinned(*there, step)), packing, spacing)
        cache = FrameCache(changed, seen, CACHE_BYTES // len(folders))
        archives.append(Archive(folder, seen, cache, pool.close))
    return tuple(archives)


def common_packing(packings: Sequence[Packing], quantity: str) -> Packing:
    """The finest packing that holds the range of a quantity, else the one that holds most."""
    if len(set(packings)) == 1:
        return packings[0]
    wanted = QUANTITIES[quantity]
    wide = [
        packing
        for packing in packings
        if packing.offset <= wanted.valid_min and largest_value(packing) >= wanted.valid_max
    ]
    return min(wide, key=lambda p: p.scale) if wide else max(packings, key=largest_value)


def trimmed(manifest: Manifest, frames: CodeReader) -> tuple[Manifest, CodeReader]:
    """An archive cut down to the rectangle in which it ever has data.

    A radar's disc in a wide frame would give samples of nothing, and fewer of its rain.
    """
    fill = manifest.packing.fill
    places = [(entry.file, n) for entry in manifest.shards for n in range(entry.frames)]
    known = np.zeros(manifest.grid.shape, bool)
    for number in spread_evenly(len(places), LOOKS):
        file, frame = places[number]
        known |= (frames.read_codes(file, frame, frame + 1) != fill)[0]
    if not known.any():
        return manifest, frames
    rows, columns = (_extent(known.any(axis)) for axis in (1, 0))
    shape = rows.stop - rows.start, columns.stop - columns.start
    if shape == manifest.grid.shape:
        return manifest, frames
    smaller = replace(manifest, grid=replace(manifest.grid, shape=shape))
    return smaller, ChangedReader(frames, lambda codes: codes[:, rows, columns])


def repacked(
    manifest: Manifest, frames: CodeReader, packing: Packing, spacing: float
) -> tuple[Manifest, CodeReader]:
    """An archive in another packing, and on pixels of another size where that differs much."""
    ratio = manifest.grid.spacing / spacing
    if abs(ratio - 1) > LARGEST_SPACING_CHANGE:
        shape = resampled_shape(manifest.grid.shape, ratio)
        resampler = CodeResampler(manifest.packing, packing)
        grid = replace(manifest.grid, shape=shape, spacing=spacing)
        changed = replace(manifest, grid=grid, packing=packing)
        return changed, ChangedReader(frames, lambda codes: resampler(codes, shape))
    if manifest.packing == packing:
        return manifest, frames
    table = recoding_table(manifest.packing, packing)
    return replace(manifest, packing=packing), ChangedReader(frames, lambda codes: table[codes])


def _extent(known: NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(known)
    return slice(int(places[0]), int(places[-1]) + 1)


def _require_quantity(folder: Path, manifest: Manifest, first: Path, wanted: Manifest) -> None:
    if manifest.quantity != wanted.quantity:
        raise ShardError(
            folder,
            f"holds {manifest.quantity}, but {first} holds {wanted.quantity}",
            "Train on archives of one quantity",
        )


def _require_step(folder: Path, manifest: Manifest, slowest: Path, wanted: Manifest) -> None:
    if wanted.step_seconds % manifest.step_seconds:
        raise ShardError(
            folder,
            f"has a frame every {manifest.step_seconds} s, which does not divide the "
            f"{wanted.step_seconds} s of {slowest}",
            "Train on archives whose time steps are multiples of each other",
        )
