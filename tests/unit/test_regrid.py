"""Fields from one grid to another."""

from __future__ import annotations

import numpy as np
import pytest

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.grid import Grid, equirectangular_grid
from hvd_nowcast.regrid import Regridder


def plain(rows: int, columns: int, size: float, left: float = 0.0) -> Grid:
    x = left + size * (np.arange(columns) + 0.5)
    return Grid(x, size * (np.arange(rows)[::-1] + 0.5))


def test_fine_pixels_are_averaged_and_missing_ones_left_out() -> None:
    field = np.arange(16.0).reshape(4, 4)
    field[0, 0] = np.nan
    found = Regridder(plain(4, 4, 100.0), plain(2, 2, 200.0))(field)
    np.testing.assert_allclose(found, [[(1 + 4 + 5) / 3, 4.5], [10.5, 12.5]])


def test_a_finer_grid_takes_the_pixel_it_lies_in() -> None:
    found = Regridder(plain(2, 2, 200.0), plain(4, 4, 100.0))(np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(found[::2, ::2], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(found[1::2, 1::2], [[1, 2], [3, 4]])


def test_outside_nothing_is_known() -> None:
    regrid = Regridder(plain(2, 2, 100.0), plain(2, 3, 100.0, left=100.0))
    found = regrid(np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(found, [[2, np.nan, np.nan], [4, np.nan, np.nan]])
    assert regrid.overlaps
    assert not Regridder(plain(2, 2, 100.0), plain(2, 2, 100.0, left=500.0)).overlaps


def test_projections_are_laid_over_each_other() -> None:
    pytest.importorskip("pyproj")
    degrees = equirectangular_grid(np.array([53.0, 52.0]), np.array([9.0, 10.0, 11.0]))
    text = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +R=6371000 +units=m"
    import pyproj

    transform = pyproj.Transformer.from_crs("+proj=longlat +R=6371000", text, always_xy=True)
    x, y = transform.transform(10.0, 52.0)
    steps = 1000.0 * np.arange(-20, 21)
    polar = Grid(x + steps, y - steps, {"proj4": text})
    field = np.full((41, 41), 7.0)
    found = Regridder(polar, degrees)(field)
    # 41 km around 10 E 52 N lie wholly in the one pixel of a degree.
    assert found[1, 1] == 7.0
    assert np.isnan(np.delete(found.ravel(), 4)).all()


def test_one_grid_without_projection_is_refused() -> None:
    with pytest.raises(ConfigError, match="no map projection"):
        Regridder(
            plain(2, 2, 100.0), equirectangular_grid(np.array([1.0, 0.0]), np.array([0.0, 1]))
        )
