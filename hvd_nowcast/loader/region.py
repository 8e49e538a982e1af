"""An archive seen through a window: its frames cropped, and what it would be without the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.config import RegionSection
from hvd_nowcast.errors import ConfigError
from hvd_nowcast.shards.manifest import Manifest, ShardEntry
from hvd_nowcast.shards.reader import CodeReader
from hvd_nowcast.shards.schema import QUANTITIES, Codes

# The rain of a region is looked at in every so many frames: half an hour of radar.
LOOK_EVERY = 6


class RegionReader:
    """Stored frames cut down to a region.

    Parameters
    ----------
    frames
        Reads whole frames.
    region
        With bounds.
    fill
        Code of a missing pixel.
    """

    def __init__(self, frames: CodeReader, region: RegionSection, fill: int) -> None:
        self._frames = frames
        self._fill = fill
        self._inside = None if region.outline is None else mask_of(region)
        self._part = slices_of(region)

    def read_codes(self, file: str, start: int, stop: int) -> Codes:
        """Stored codes of some frames, missing outside the outline, shape (frames, y, x)."""
        rows, columns = self._part
        codes = self._frames.read_codes(file, start, stop)[:, rows, columns]
        if self._inside is None:
            return codes
        return np.where(self._inside, codes, np.array(self._fill, codes.dtype))


def slices_of(region: RegionSection) -> tuple[slice, slice]:
    """Rows and columns of a region.

    Raises
    ------
    ConfigError
        When it has no bounds.
    """
    if region.bounds is None:
        raise ConfigError(f"region {region.name}: this task needs region.bounds")
    top, bottom, left, right = region.bounds
    return slice(top, bottom), slice(left, right)


def mask_of(region: RegionSection) -> NDArray[np.bool_]:
    """Pixels of the bounds whose centre lies inside the outline, shape (rows, columns)."""
    rows, columns = slices_of(region)
    y, x = np.mgrid[rows, columns].astype(np.float64)
    if region.outline is None:
        return np.ones(y.shape, bool)
    return inside_polygon(region.outline, y, x)


def inside_polygon(
    corners: Sequence[tuple[float, float]], y: NDArray[np.float64], x: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether points lie inside a polygon: a ray crosses its sides an odd number of times.

    Points on a side belong to one of two polygons that share it, never to both (Franklin's
    half-open rule).
    """
    inside = np.zeros(y.shape, bool)
    for (y0, x0), (y1, x1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        spans = (y0 > y) != (y1 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0) if y1 != y0 else np.inf
        inside ^= spans & (x < crossing)
    return inside


def regional_manifest(manifest: Manifest, reader: RegionReader, region: RegionSection) -> Manifest:
    """The manifest of an archive as if it held one region alone.

    Parameters
    ----------
    manifest
        The whole archive.
    reader
        Its frames cut down to the region.
    region
        With bounds.

    Raises
    ------
    ConfigError
        When the region does not lie in the grid.
    """
    rows, columns = slices_of(region)
    if rows.stop > manifest.grid.shape[0] or columns.stop > manifest.grid.shape[1]:
        raise ConfigError(
            f"region {region.name}: bounds {region.bounds} do not lie in the grid of "
            f"{manifest.grid.shape[0]} rows and {manifest.grid.shape[1]} columns"
        )
    shape = rows.stop - rows.start, columns.stop - columns.start
    wet = wet_codes(manifest)
    return replace(
        manifest,
        grid=replace(manifest.grid, shape=shape),
        shards=tuple(_regional_entry(entry, manifest, reader, wet) for entry in manifest.shards),
    )


def wet_codes(manifest: Manifest) -> NDArray[np.bool_]:
    """Whether each code of an archive is rain, shape (256,) or (65536,)."""
    # A missing pixel is not wet: no comparison with NaN is true.
    return manifest.packing.table() >= QUANTITIES[manifest.quantity].wet_threshold


def _regional_entry(
    entry: ShardEntry, manifest: Manifest, reader: RegionReader, wet: NDArray[np.bool_]
) -> ShardEntry:
    if entry.split == "test":
        return entry  # Nothing is drawn from it.
    fractions: list[float] = []
    for frame in range(0, entry.frames, LOOK_EVERY):
        codes = reader.read_codes(entry.file, frame, frame + 1)
        valid = max(1, int((codes != manifest.packing.fill).sum()))
        fractions.append(float(wet[codes].sum()) / valid)
    every = np.repeat(fractions, LOOK_EVERY)[: entry.frames]
    return replace(entry, wet_fraction=tuple(every.tolist()))
