"""Watershed files of several shapes, and what is wrong with bad ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from hvd_nowcast.errors import HvdNowcastError, InputError, ShardError
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.check import check_shards
from hvd_nowcast.shards.convert import open_source
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.reader import ReaderPool
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.shards.watershed import load_watershed
from tests.unit.made_watershed import (
    COLUMNS,
    ROWS,
    STEPS,
    Edit,
    make_discharge,
    make_rain,
    write_watershed_file,
)

pytest.importorskip("pyflwdir", reason="pyflwdir is not installed: launch/setup.sh brings it")

SPLIT = parse_split("train=0.7,validation=0.15,test=0.15")


def build(tmp_path: Path, edit: Edit | None = None, hours: int = 24) -> Path:
    file = write_watershed_file(tmp_path / "valley.nc", edit, hours)
    build_shards(open_source([file]), tmp_path / "shards", SPLIT)
    return tmp_path / "shards"


def test_rain_network_and_series_come_back(tmp_path: Path) -> None:
    folder = build(tmp_path)
    manifest = Manifest.load(folder)
    watershed = load_watershed(folder, manifest)
    assert watershed.gauges == ("outlet",)
    assert watershed.gauge_node.tolist() == [(ROWS - 1) * COLUMNS + 2]
    assert watershed.network.upstream_area[watershed.gauge_node[0]] == ROWS * COLUMNS
    np.testing.assert_allclose(watershed.discharge[:, 0], make_discharge(make_rain()), rtol=1e-6)
    pool = ReaderPool(folder)
    codes = pool.read_codes(manifest.shards[0].file, 0, 5)
    pool.close()
    np.testing.assert_allclose(manifest.packing.table()[codes] * 24, make_rain()[:5], atol=0.0051)
    assert all(result.ok for result in check_shards(folder))


def test_a_damaged_watershed_is_found(tmp_path: Path) -> None:
    folder = build(tmp_path)
    path = folder / "watershed.nc"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (bad,) = (result for result in check_shards(folder) if not result.ok)
    assert bad.file == "watershed.nc"
    with pytest.raises(ShardError, match="checksum"):
        load_watershed(folder, Manifest.load(folder))


def test_rows_from_the_south_give_the_same_watershed(tmp_path: Path) -> None:
    def upside_down(dataset: netCDF4.Dataset) -> None:
        for name in ("y", "flow_direction"):
            dataset[name][:] = dataset[name][:][::-1]
        dataset["precipitation"][:] = dataset["precipitation"][:][:, ::-1]
        dataset.outlet_row = 0

    (tmp_path / "plain").mkdir()
    folders = [build(tmp_path / "plain"), build(tmp_path, upside_down)]
    plain, turned = (load_watershed(folder, Manifest.load(folder)) for folder in folders)
    np.testing.assert_array_equal(plain.network.downstream, turned.network.downstream)
    assert plain.gauge_node == turned.gauge_node


@pytest.mark.parametrize(
    ("units", "factor"), [("in", 25.4), ("mm/day", 1.0), ("kg m-2", 1.0), ("mm h-1", 24.0)]
)
def test_units_of_rain(tmp_path: Path, units: str, factor: float) -> None:
    def change(dataset: netCDF4.Dataset) -> None:
        dataset["precipitation"].units = units
        dataset["precipitation"][:] = make_rain() / factor

    folder = build(tmp_path, change)
    manifest = Manifest.load(folder)
    pool = ReaderPool(folder)
    codes = pool.read_codes(manifest.shards[0].file, 0, 5)
    pool.close()
    values = 24 * manifest.packing.table()[codes]
    np.testing.assert_allclose(values, make_rain()[:5], atol=0.006)


def test_cubic_feet_and_gaps(tmp_path: Path) -> None:
    def change(dataset: netCDF4.Dataset) -> None:
        dataset["discharge"].units = "ft3 s-1"
        dataset["discharge"][3] = -9.0

    folder = build(tmp_path, change)
    watershed = load_watershed(folder, Manifest.load(folder))
    assert np.isnan(watershed.discharge[3, 0])
    assert watershed.discharge[4, 0] == pytest.approx(
        0.0283168 * make_discharge(make_rain())[4], 1e-4
    )


def _spoil(name: str) -> Edit:
    def edit(dataset: netCDF4.Dataset) -> None:
        if name == "units of rain":
            dataset["precipitation"].units = "furlong"
        elif name == "units of discharge":
            dataset["discharge"].units = "buckets"
        elif name == "circle":
            dataset["flow_direction"][0, 0:2] = [1, 16]
        elif name == "outlet outside":
            dataset.outlet_row = 99
        elif name == "no outlet":
            dataset.delncattr("outlet_row")
        elif name == "negative discharge":
            dataset["discharge"][4] = -3.0
        elif name == "codes":
            dataset["flow_direction"][0, 0] = 77
        elif name == "no discharge":
            dataset.renameVariable("discharge", "something")
        elif name == "no forcing":
            dataset["precipitation"][:] = np.ma.masked_all((STEPS, ROWS, COLUMNS))

    return edit


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("units of rain", "precipitation is in 'furlong'"),
        ("units of discharge", "discharge is in 'buckets'"),
        ("circle", "circle through row 0"),
        ("outlet outside", "gauge at row 99, column 2 lies outside the watershed"),
        ("no outlet", "nothing says where the outlet is"),
        ("negative discharge", "negative values"),
        ("codes", "directions 77"),
        ("no discharge", "no variable for the discharge"),
        ("no forcing", "all pixels of all frames are missing"),
    ],
)
def test_bad_watersheds_are_one_clear_error(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(HvdNowcastError, match=message) as caught:
        build(tmp_path, _spoil(name))
    assert caught.value.exit_status == 3
    assert not (tmp_path / "shards").exists()


def test_series_of_another_time_step_are_refused(tmp_path: Path) -> None:
    rain = write_watershed_file(
        tmp_path / "rain.nc", lambda dataset: dataset.renameVariable("discharge", "old")
    )
    other = tmp_path / "discharge.nc"
    with netCDF4.Dataset(other, "w") as dataset:
        dataset.createDimension("time", 3)
        time = dataset.createVariable("time", "f8", ("time",))
        time.units = "hours since 2000-01-01"
        time[:] = [0, 6, 12]
        variable = dataset.createVariable("discharge", "f4", ("time",))
        variable.units = "m3/s"
        variable[:] = 1.0
    with pytest.raises(InputError, match="has 3 time steps from .*, the rain 120"):
        open_source([rain, other], format="watershed")


def test_separate_files_of_lisflood(tmp_path: Path, shared_data: Path) -> None:
    raw = shared_data / "flood/raw/fraser"
    names = ("tp.nc", "ldd.nc", "dem.nc", "pixarea.nc", "dis.tss")
    with netCDF4.Dataset(shared_data / "flood/fraser_1986_2007_daily.nc") as converted:
        place = {k: int(converted.getncattr(k)) for k in ("outlet_row", "outlet_col")}
        codes = converted["flow_direction"][:].filled(255)
    outlet = tmp_path / "outlet.nc"
    with netCDF4.Dataset(outlet, "w") as dataset:
        dataset.setncatts(place)
    source = open_source([*(raw / name for name in names), outlet], format="watershed")
    writer = source.companions["watershed.nc"]
    writer(tmp_path / "watershed.nc")
    with netCDF4.Dataset(tmp_path / "watershed.nc") as dataset:
        pointers: Any = dataset["downstream"][:]
    from hvd_nowcast.hydrology.network import directions_to_pointers

    np.testing.assert_array_equal(pointers, directions_to_pointers(codes, outlet))
