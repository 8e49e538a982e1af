"""Discharge ahead: from the newest record, with a nowcast of the rain, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import yaml

from hvd_nowcast.cli import main
from hvd_nowcast.config import FloodConfig
from hvd_nowcast.errors import ConfigError, InputError
from hvd_nowcast.flood.evaluate import flood_scores
from hvd_nowcast.flood.forecast import make_flood_forecast
from hvd_nowcast.spark.plan import Request
from hvd_nowcast.spark.work import open_work
from hvd_nowcast.train import train
from hvd_nowcast.training.run_folder import RunFolder
from tests.unit.made_watershed import COLUMNS, ROWS, STEPS, make_rain, write_watershed_file
from tests.unit.test_flood import make_config, make_shards

pytest.importorskip("pyflwdir", reason="pyflwdir is not installed: launch/setup.sh brings it")

DAY = np.timedelta64(86400, "s")
# Well inside the test split, with observed rain ahead.
PLACE = 110


def time_of(place: int) -> np.datetime64:
    return np.datetime64("2000-01-01T00:00:00") + place * DAY


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forecast")
    tree = make_config(make_shards(folder), output="quantile", quantiles=[0.1, 0.5, 0.9])
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    train(folder / "config.yaml", folder / "run")
    return folder / "run"


def record_until(path: Path, place: int, **changes: float) -> Path:
    """The newest files of a watershed: nothing is known after a place."""

    def forget(dataset: Any) -> None:
        dataset["precipitation"][place + 1 :] = changes.get("rain", -1.0)
        dataset["discharge"][place + 1 :] = -9.0

    return write_watershed_file(path, forget)


def write_nowcast(path: Path, rain: np.ndarray, first: np.datetime64, size: int = 1) -> Path:
    """Hourly frames, each the rain of the hour up to its time; pixels ``size`` times finer."""
    with netCDF4.Dataset(path, "w") as dataset:
        rows, columns = rain.shape[1] * size, rain.shape[2] * size
        for name, length in (("time", len(rain)), ("y", rows), ("x", columns)):
            dataset.createDimension(name, length)
        time = dataset.createVariable("time", "f8", ("time",))
        time.units = f"hours since {str(first).replace('T', ' ')}"
        time[:] = 1.0 + np.arange(len(rain))
        for name, length in (("y", rows), ("x", columns)):
            axis = dataset.createVariable(name, "f8", (name,))
            axis.units = "m"
            places = (np.arange(length) + 0.5) * 1000.0 / size - 500.0
            axis[:] = places[::-1] if name == "y" else places
        field = dataset.createVariable("rain_rate", "f4", ("time", "y", "x"), fill_value=-1.0)
        field.setncatts({"units": "mm h-1", "standard_name": "rainfall_rate"})
        field[:] = rain.repeat(size, 1).repeat(size, 2)
    return path


def hourly(places: range) -> np.ndarray:
    """The true rain of some days as 24 equal frames each, mm/h."""
    return np.repeat(make_rain()[places.start : places.stop] / 24.0, 24, 0)


def test_the_forecast_is_what_evaluation_scores(run: Path, tmp_path: Path) -> None:
    file = write_watershed_file(tmp_path / "valley.nc")
    found = make_flood_forecast(run, [file], reference_time=str(time_of(PLACE)))
    scores = flood_scores(run)
    number = scores["starts"].index(str(time_of(PLACE)))
    np.testing.assert_allclose(found.median.T, scores["series"]["model"][number], atol=2e-3)
    assert found.times[-1] == time_of(PLACE + 2)
    assert found.rain_hours.tolist() == [24.0, 24.0]
    assert (np.diff(found.discharge, axis=-1) >= 0).all()


@pytest.mark.parametrize("size", [1, 3])
def test_a_perfect_nowcast_gives_the_forecast_of_observed_rain(
    run: Path, tmp_path: Path, size: int
) -> None:
    whole = write_watershed_file(tmp_path / "whole.nc")
    known = make_flood_forecast(run, [whole], reference_time=str(time_of(PLACE)))
    newest = record_until(tmp_path / "newest.nc", PLACE)
    ahead = range(PLACE + 1, PLACE + 3)
    rain = write_nowcast(tmp_path / "rain.nc", hourly(ahead), time_of(PLACE + 1), size)
    chained = make_flood_forecast(run, [newest], [rain])
    assert chained.reference_time == time_of(PLACE)
    np.testing.assert_allclose(chained.rain, known.rain, atol=2e-3)
    np.testing.assert_allclose(chained.discharge, known.discharge, rtol=0.01)
    dry = make_flood_forecast(run, [newest])
    assert not dry.rain[-2:].any()
    assert not np.allclose(dry.discharge, known.discharge, rtol=0.01)


def test_a_short_nowcast_leaves_the_rest_dry_and_says_so(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = record_until(tmp_path / "newest.nc", PLACE)
    rain = write_nowcast(tmp_path / "r.nc", np.full((6, ROWS, COLUMNS), 2.0), time_of(PLACE + 1))
    found = make_flood_forecast(run, [newest], [rain])
    assert found.rain_hours.tolist() == [6.0, 0.0]
    assert found.rain[-2:, 0] == pytest.approx([2.0 * 6 / 24, 0.0], abs=1e-3)
    assert "the rain of 6 of the 48 hours ahead is known" in capsys.readouterr().err


def test_the_command_writes_series_and_a_picture(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    newest = record_until(tmp_path / "newest.nc", STEPS - 1)
    out = tmp_path / "flood.nc"
    arguments = ["forecast", str(run), "--input", str(newest), "--out", str(out)]
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--plot", str(tmp_path)])
    assert not exit_.value.code
    text = capsys.readouterr().out
    assert f"{out}: 1 gauges to 48 hours after 2000-04-29T00:00:00 UTC" in text
    assert (tmp_path / "discharge.png").stat().st_size > 5000
    with netCDF4.Dataset(out) as dataset:
        assert dataset["discharge"].dimensions == ("time", "gauge")
        assert dataset["discharge_quantile"].shape == (3, 2, 1)
        assert dataset["gauge_name"][0] == "outlet"
        assert np.isfinite(dataset["discharge"][:]).all()
        assert netCDF4.num2date(dataset["time"][0], dataset["time"].units).day == 30
        assert dataset["rain_known"][:].tolist() == [0.0, 0.0]


def test_what_cannot_be_forecast_is_refused(run: Path, tmp_path: Path) -> None:
    newest = record_until(tmp_path / "newest.nc", PLACE)
    late = write_nowcast(tmp_path / "late.nc", hourly(range(2)), time_of(PLACE + 9))
    with pytest.raises(InputError, match="that of 2000-04-21T00:00:00 to 2000-04-23"):
        make_flood_forecast(run, [newest], [late])
    with pytest.raises(InputError, match="has no time step 2031-01-01"):
        make_flood_forecast(run, [newest], reference_time="2031-01-01")
    with pytest.raises(ConfigError, match="expected a time such as"):
        make_flood_forecast(run, [newest], reference_time="noon")
    with pytest.raises(InputError, match="needs 10 steps of rain.*but 7 are missing"):
        make_flood_forecast(run, [newest], reference_time=str(time_of(2)))
    one = write_nowcast(tmp_path / "one.nc", hourly(range(1))[:1], time_of(PLACE + 1))
    with pytest.raises(InputError, match="single frame of unknown length"):
        make_flood_forecast(run, [newest], [one])


def test_options_of_the_other_task_are_refused(run: Path, tmp_path: Path) -> None:
    newest = record_until(tmp_path / "newest.nc", PLACE)
    arguments = ["forecast", str(run), "--input", str(newest), "--out", str(tmp_path / "f.nc")]
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--variable", "tp"])
    assert exit_.value.code == 2


def test_a_record_is_forecast_from_each_start(run: Path, tmp_path: Path) -> None:
    shards = Path(RunFolder(run).config_of(FloodConfig).data.shards)
    with open_work(run, Request((shards,), 1440)) as work:
        names = {
            f"{str(time_of(place)).replace('-', '').replace(':', '')}.nc": place
            for place in range(STEPS)
        }
        places = [names[piece] for piece in work.pieces]
        steps_in = make_config(shards)["data"]["frames_in"]
        assert places[0] == steps_in - 1
        assert len(places) > STEPS / 2
        assert PLACE in places
        piece = work.pieces[places.index(PLACE)]
        work.compute(piece, tmp_path / piece)
        assert f"{len(places)} forecasts" in work.join(tmp_path)
    whole = make_flood_forecast(run, [shards], reference_time=str(time_of(PLACE)))
    with netCDF4.Dataset(tmp_path / piece) as file:
        np.testing.assert_array_equal(file["discharge"][:], whole.median)
