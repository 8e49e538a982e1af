"""A forecast file in the hands of other programs: pySTEPS, the CF checker, xarray, our plots."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvd_nowcast.nowcast.forecast import make_forecast
from hvd_nowcast.plots import plot_forecast_file
from tests.unit.test_bad_input import write_radar
from tests.unit.test_forecast import Doubler, rising

pytestmark = pytest.mark.system


@pytest.fixture
def plain_forecast(tmp_path: Path) -> Path:
    """A forecast on a grid without a known projection."""
    out = tmp_path / "plain.nc"
    make_forecast(Doubler(), [write_radar(tmp_path / "a.nc", rising())], out)
    return out


@pytest.fixture
def projected_forecast(tmp_path: Path, shared_data: Path) -> Path:
    """A forecast on the polar stereographic grid of the KNMI sample."""
    model, out = Doubler(), tmp_path / "knmi.nc"
    model.grid_spacing = 1000.0
    make_forecast(model, [shared_data / "radar/knmi_20100826_rate.nc"], out)
    return out


def read_with_pysteps(path: Path) -> tuple[Any, dict[str, Any]]:
    pytest.importorskip("scipy")
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importers = pytest.importorskip("pysteps.io.nowcast_importers")
        return importers.import_netcdf_pysteps(str(path))  # type: ignore[no-any-return]


def check_cf(path: Path) -> list[str]:
    """Errors that the IOOS compliance checker finds."""
    runner = pytest.importorskip("compliance_checker.runner")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner.CheckSuite.load_all_available_checkers()
        suite = runner.CheckSuite()
        dataset = suite.load_dataset(str(path))
        scores = suite.run_all(dataset, ["cf:1.7"])
    messages = []
    for groups, errors in scores.values():
        assert not errors
        for group in groups:
            scored, possible = group.value if isinstance(group.value, tuple) else (group.value, 1)
            if group.weight == 3 and scored < possible:
                messages += [f"{group.name}: {message}" for message in group.msgs]
    return messages


def test_pysteps_reads_it_back_unchanged(plain_forecast: Path) -> None:
    fields, about = read_with_pysteps(plain_forecast)
    np.testing.assert_array_equal(fields, np.full((4, 6, 8), 24.0))
    np.testing.assert_allclose(about["leadtimes"], [5, 10, 15, 20])
    assert (about["unit"], about["accutime"]) == ("mm/h", 5)
    assert str(about["timestamps"][0]) == "2020-01-01 01:00:00"


def test_pysteps_finds_the_projection_and_the_corners(projected_forecast: Path) -> None:
    fields, about = read_with_pysteps(projected_forecast)
    assert fields.shape == (4, 765, 700)
    assert about["projection"].startswith("+proj=stere +lon_0=0.0 +lat_0=90.0 +lat_ts=60.0")
    corners = [about[name] for name in ("x1", "y1", "x2", "y2")]
    np.testing.assert_allclose(corners, [0.0, -4415000.0, 700000.0, -3650000.0])
    assert about["xpixelsize"] == about["ypixelsize"] == 1000.0


def test_the_cf_checker_passes(plain_forecast: Path) -> None:
    assert check_cf(plain_forecast) == []


def test_the_cf_checker_passes_with_a_projection(projected_forecast: Path) -> None:
    assert check_cf(projected_forecast) == []


def test_the_cf_checker_can_fail(tmp_path: Path) -> None:
    assert check_cf(write_radar(tmp_path / "bad.nc", units="furlong"))


def test_xarray_opens_it(plain_forecast: Path) -> None:
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(plain_forecast) as dataset:
        rain = dataset["precip_intensity"]
        assert rain.dims == ("time", "y", "x")
        assert str(rain.time.values[0])[:16] == "2020-01-01T01:00"
        assert float(rain.max()) == 24.0


def test_it_can_be_drawn(plain_forecast: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (picture,) = plot_forecast_file(plain_forecast, tmp_path / "figures")
    assert picture.stat().st_size > 10_000
