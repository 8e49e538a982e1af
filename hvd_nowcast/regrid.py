"""Fields from one map grid to another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.grid import Grid
from hvd_nowcast.optional import import_optional

Array = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Regridder:
    """Means of the pixels of one grid over those of another.

    A target pixel takes the mean of the source pixels whose centre lies in it, or, where it is
    finer than the source, the source pixel that its own centre lies in.

    Parameters
    ----------
    source, target
        Both with a projection, or both without: plain distances from the same corner.

    Raises
    ------
    ConfigError
        When only one of them has a projection.
    MissingDependencyError
        When pyproj is not installed and the projections differ.
    """

    def __init__(self, source: Grid, target: Grid) -> None:
        self._pixel = _pixels(target, *_moved(source, target)).ravel()
        self._size = len(target.y) * len(target.x)
        self._shape = target.shape
        nearest = _pixels(source, *_moved(target, source)).ravel()
        inside = self._pixel >= 0
        filled = np.bincount(self._pixel[inside], minlength=self._size) > 0
        self._nearest = np.where(filled, -1, nearest)

    @property
    def overlaps(self) -> bool:
        """Whether the grids have any pixel in common."""
        return bool((self._pixel >= 0).any() or (self._nearest >= 0).any())

    def __call__(self, field: Array) -> Floats:
        """Field (y, x) of the source to one of the target, NaN where nothing is known."""
        values = field.ravel().astype(np.float64)
        used = (self._pixel >= 0) & np.isfinite(values)
        sums = np.bincount(self._pixel[used], values[used], self._size)
        counts = np.bincount(self._pixel[used], minlength=self._size)
        mean = np.divide(sums, counts, out=np.full(self._size, np.nan), where=counts > 0)
        finer = self._nearest >= 0
        mean[finer] = values[self._nearest[finer]]
        return mean.reshape(self._shape)


def _moved(grid: Grid, other: Grid) -> tuple[Floats, Floats]:
    """Pixel centres of a grid in the coordinates of another, each of shape (y, x)."""
    x, y = np.meshgrid(grid.x, grid.y)
    if grid.projection == other.projection:
        return x, y
    if not grid.projection or not other.projection:
        raise ConfigError(
            "one of two grids has no map projection, so they cannot be laid over each other: give "
            "files with a grid mapping or with latitudes and longitudes"
        )
    pyproj = import_optional("pyproj", "grids of different projections need pyproj", "pyproj")
    crs = [_reference_system(pyproj, each.projection) for each in (grid, other)]
    moved: tuple[Floats, Floats] = pyproj.Transformer.from_crs(*crs, always_xy=True).transform(x, y)
    return moved


def _reference_system(pyproj: Any, projection: dict[str, Any]) -> Any:
    if "proj4" in projection:
        return pyproj.CRS.from_proj4(str(projection["proj4"]))
    return pyproj.CRS.from_cf(projection)


def _pixels(grid: Grid, x: Floats, y: Floats) -> Integers:
    """Number of the pixel of a grid that each place lies in, -1 outside."""
    column, row = _place(grid.x, x), _place(-grid.y, -y)
    return np.where((column >= 0) & (row >= 0), row * len(grid.x) + column, -1)


def _place(axis: Floats, values: Floats) -> Integers:
    half = 500.0 if len(axis) < 2 else (axis[1:] - axis[:-1]).mean() / 2
    edges = np.concatenate([[axis[0] - half], (axis[1:] + axis[:-1]) / 2, [axis[-1] + half]])
    found = np.searchsorted(edges, values, side="right") - 1
    return np.where((found >= 0) & (found < len(axis)), found, -1)
