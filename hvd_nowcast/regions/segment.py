"""Space cut into regions, each pixel in one of them at most."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.config import RegionSection
from hvd_nowcast.errors import ConfigError, InputError
from hvd_nowcast.grid import Grid

Bounds = tuple[int, int, int, int]


def cut_grid(shape: tuple[int, int], rows: int, columns: int) -> list[RegionSection]:
    """Rectangles whose sides differ by one pixel at most.

    Parameters
    ----------
    shape
        Rows and columns of the domain.
    rows, columns
        Number of rectangles down and across.

    Raises
    ------
    ConfigError
        When there are more rectangles than pixels.
    """
    if rows > shape[0] or columns > shape[1]:
        raise ConfigError(
            f"cut: {rows} x {columns} regions do not fit into {shape[0]} x {shape[1]} pixels"
        )
    tops = np.arange(rows + 1) * shape[0] // rows
    lefts = np.arange(columns + 1) * shape[1] // columns
    return _named(
        (int(tops[r]), int(tops[r + 1]), int(lefts[c]), int(lefts[c + 1]))
        for r in range(rows)
        for c in range(columns)
    )


def cut_quadtree(
    density: NDArray[np.floating[Any]], most: float, least_side: int
) -> list[RegionSection]:
    """Rectangles cut in four as long as they hold much of the data (Finkel and Bentley 1974).

    Parameters
    ----------
    density
        Data in each pixel, not negative, shape (y, x).
    most
        A rectangle with more than this share of all data is cut.
    least_side
        None is cut to sides below this.
    """
    limit = most * float(density.sum())
    return _named(_quarters(density, (0, density.shape[0], 0, density.shape[1]), limit, least_side))


def _quarters(
    density: NDArray[np.floating[Any]], bounds: Bounds, limit: float, least: int
) -> Iterator[Bounds]:
    top, bottom, left, right = bounds
    held = float(density[top:bottom, left:right].sum())
    if held <= limit or min(bottom - top, right - left) < 2 * least:
        yield bounds
        return
    middle, centre = (top + bottom) // 2, (left + right) // 2
    for rows in ((top, middle), (middle, bottom)):
        for columns in ((left, centre), (centre, right)):
            yield from _quarters(density, (*rows, *columns), limit, least)


def cut_polygons(path: Path, grid: Grid) -> list[RegionSection]:
    """Regions inside the outer rings of a GeoJSON file.

    Parameters
    ----------
    path
        A feature collection of polygons, coordinates as of the grid.
    grid
        The domain.

    Raises
    ------
    InputError
        When the file holds no polygon, or one that lies outside the grid.
    """
    try:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
        rings = [
            (str(feature.get("properties", {}).get("name", f"P{n:02d}")), _outer_ring(feature))
            for n, feature in enumerate(features)
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as problem:
        raise InputError(
            path,
            f"not a GeoJSON collection of polygons ({problem!r})",
            'Give {"features": [...]} with geometries of type Polygon',
        ) from problem
    return [_polygon_region(path, name, ring, grid) for name, ring in rings]


def _outer_ring(feature: dict[str, Any]) -> NDArray[np.float64]:
    geometry = feature["geometry"]
    if geometry["type"] != "Polygon":
        raise ValueError(f"a {geometry['type']} is no Polygon")
    ring = np.asarray(geometry["coordinates"][0], np.float64)[:, :2]
    return ring[:-1] if (ring[0] == ring[-1]).all() else ring


def _polygon_region(path: Path, name: str, ring: NDArray[np.float64], grid: Grid) -> RegionSection:
    # Row 0 is in the north: y falls with the row.
    step = grid.spacing
    columns = (ring[:, 0] - grid.x[0]) / step
    rows = (grid.y[0] - ring[:, 1]) / step
    top, left = (max(0, int(np.ceil(axis.min()))) for axis in (rows, columns))
    bottom = min(grid.shape[0], int(np.floor(rows.max())) + 1)
    right = min(grid.shape[1], int(np.floor(columns.max())) + 1)
    if top >= bottom or left >= right:
        raise InputError(
            path,
            f"polygon {name} holds no pixel of the grid",
            f"The grid spans x {grid.x[0]:.0f} to {grid.x[-1]:.0f}, y {grid.y[-1]:.0f} to "
            f"{grid.y[0]:.0f}: give polygons in these coordinates",
        )
    corners = tuple((float(r), float(c)) for r, c in zip(rows, columns, strict=True))
    return RegionSection(name, (top, bottom, left, right), corners)


def cut_gauges(gauges: Sequence[str]) -> list[RegionSection]:
    """One region per gauge: its basin."""
    return [RegionSection(name, gauge=name) for name in gauges]


def _named(bounds: Iterator[Bounds]) -> list[RegionSection]:
    return [RegionSection(f"R{number:02d}", part) for number, part in enumerate(bounds)]
