"""What CF files may look like: axes, units, missing values, calendars, damage inside."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvd_nowcast.errors import InputError
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.convert import open_source
from hvd_nowcast.shards.convert.classic import classic_size
from hvd_nowcast.shards.convert.reflectivity import NO_ECHO_DBZ
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.split import parse_split

RAIN = np.arange(24, dtype=float).reshape(2, 3, 4)


def write(
    path: Path,
    values: Any = RAIN,
    *,
    y: Any = (3, 2, 1),
    x: Any = (1, 2, 3, 4),
    axis_units: tuple[str, str] = ("m", "m"),
    dtype: str = "f4",
    fill: Any = None,
    attributes: dict[str, Any] | None = None,
    time: dict[str, str] | None = None,
    minutes: Any = (0, 5),
    mapping: str = "crs",
    format: str = "NETCDF4",
) -> Path:
    """Write stored values as they are, with the given attributes."""
    with netCDF4.Dataset(path, "w", format=format) as file:
        for name, axis in (("time", minutes), ("y", y), ("x", x)):
            file.createDimension(name, len(axis))
            file.createVariable(name, "f8", (name,))[:] = axis
        file["time"].setncatts({"units": "minutes since 2020-01-01"} | (time or {}))
        file["y"].units, file["x"].units = axis_units
        file.createVariable("crs", "i4").proj4 = "+proj=stere +lat_0=90"
        variable = file.createVariable("rain_rate", dtype, ("time", "y", "x"), fill_value=fill)
        variable.setncatts({"units": "mm h-1", "grid_mapping": mapping} | (attributes or {}))
        variable.set_auto_maskandscale(False)
        variable[:] = values
    return path


@pytest.mark.parametrize("turn_y", [False, True])
@pytest.mark.parametrize("turn_x", [False, True])
def test_row_0_is_north_and_column_0_west(tmp_path: Path, turn_y: bool, turn_x: bool) -> None:
    rows, columns = (slice(None, None, -1 if turn else 1) for turn in (turn_y, turn_x))
    stored, y, x = RAIN[:, rows, columns], [3, 2, 1][rows], [1, 2, 3, 4][columns]
    source = open_source([write(tmp_path / "a.nc", stored, y=y, x=x)])
    np.testing.assert_array_equal(source.read(1), RAIN[1])
    assert (list(source.grid.y), list(source.grid.x)) == ([3, 2, 1], [1, 2, 3, 4])


@pytest.mark.parametrize("mapping", ["crs", "crs: x y"])
def test_kilometres_and_both_forms_of_grid_mapping(tmp_path: Path, mapping: str) -> None:
    source = open_source([write(tmp_path / "a.nc", axis_units=("km", "km"), mapping=mapping)])
    assert source.grid.spacing == 1000.0
    assert source.grid.projection == {"proj4": "+proj=stere +lat_0=90"}


def test_degrees_become_metres_true_at_the_middle_latitude(tmp_path: Path) -> None:
    degrees = {"y": (60.01, 60.0, 59.99), "x": (10.0, 10.01, 10.02, 10.03)}
    units = ("degrees_north", "degrees_east")
    grid = open_source([write(tmp_path / "a.nc", axis_units=units, **degrees)]).grid
    # On a sphere of 6371 km, and cos 60 degrees is one half.
    np.testing.assert_allclose(-np.diff(grid.y), 1111.95, rtol=1e-4)
    np.testing.assert_allclose(np.diff(grid.x), 1111.95 / 2, rtol=1e-4)
    assert "+proj=eqc +lat_ts=60.0" in grid.projection["proj4"]


STORED = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
MISSING: dict[str, tuple[dict[str, Any], list[int]]] = {
    "fill value": ({"fill": 3}, [3]),
    "missing value": ({"fill": 3, "attributes": {"missing_value": np.int16(5)}}, [3, 5]),
    "two missing values": ({"attributes": {"missing_value": np.array([5, 6], "i2")}}, [5, 6]),
    "valid range": ({"attributes": {"valid_range": np.array([2, 9], "i2")}}, [0, 1, 10, 11]),
    "valid minimum": ({"attributes": {"valid_min": np.int16(2)}}, [0, 1]),
    "valid maximum": ({"attributes": {"valid_max": np.int16(9)}}, [10, 11]),
    "none": ({}, []),
}


@pytest.mark.parametrize("row", MISSING)
def test_every_way_to_say_missing(tmp_path: Path, row: str) -> None:
    settings, expected = MISSING[row]
    settings = settings | {"attributes": settings.get("attributes", {}) | {"scale_factor": 0.5}}
    values = np.stack([STORED.reshape(3, 4)] * 2)
    frame = open_source([write(tmp_path / "a.nc", values, dtype="i2", **settings)]).read(0)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(frame)), expected)
    np.testing.assert_array_equal(frame[~np.isnan(frame)], np.delete(STORED, expected) * 0.5)


def test_places_never_written_are_missing_without_a_fill_value(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc")
    with netCDF4.Dataset(path, "a") as file:
        other = file.createVariable("late", "f4", ("time", "y", "x"))
        other.units = "mm h-1"
        other[0] = 1.0
    source = open_source([path], variable="late")
    assert np.isnan(source.read(1)).all()
    np.testing.assert_array_equal(source.read(0), 1.0)


def test_signed_bytes_that_say_they_are_unsigned(tmp_path: Path) -> None:
    values = np.full((2, 3, 4), -2, "i1")
    values[0, 0, 0] = -1
    attributes = {"_Unsigned": "true", "scale_factor": 0.1}
    path = write(
        tmp_path / "a.nc",
        values,
        dtype="i1",
        fill=-1,
        attributes=attributes,
        format="NETCDF3_CLASSIC",
    )
    frame = open_source([path]).read(0)
    assert np.isnan(frame[0, 0])
    np.testing.assert_allclose(frame[1], 25.4)


def test_counts_of_one_or_two_bytes_are_kept_as_they_are(tmp_path: Path) -> None:
    values = np.arange(24).reshape(2, 3, 4) * 2000
    attributes = {"scale_factor": 0.01 / 3600, "units": "kg m-2 s-1"}
    path = write(tmp_path / "a.nc", values, dtype="u2", fill=65535, attributes=attributes)
    source = open_source([path])
    assert source.packing.scale == pytest.approx(0.01)
    build_shards(source, tmp_path / "out", parse_split("train=1"))
    (entry,) = Manifest.load(tmp_path / "out").shards
    with netCDF4.Dataset(tmp_path / "out" / entry.file) as file:
        file.set_auto_maskandscale(False)
        np.testing.assert_array_equal(file["rain_rate"][:], values)


def test_no_echo_is_dry_and_not_missing(tmp_path: Path) -> None:
    dbz = np.tile(np.array([NO_ECHO_DBZ - 0.5, NO_ECHO_DBZ, 20.0, np.nan]), (2, 3, 1))
    source = open_source([write(tmp_path / "a.nc", dbz, attributes={"units": "dBZ"})])
    frame = source.read(0)
    np.testing.assert_array_equal(frame[0, :2], 0.0)
    assert frame[0, 2] == pytest.approx((100 / 200) ** (1 / 1.6))
    assert np.isnan(frame[0, 3])
    assert source.attributes["zr_no_echo_dbz"] == NO_ECHO_DBZ


def test_a_relation_of_the_file_wins_over_the_usual_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", RAIN, attributes={"units": "dBZ"})
    with netCDF4.Dataset(path, "a") as file:
        file.zr_a, file.zr_b = 316.0, 1.5
    attributes = open_source([path]).attributes
    assert (attributes["zr_name"], attributes["zr_a"], attributes["zr_b"]) == ("file", 316.0, 1.5)
    assert open_source([path], relation="wsr-88d").attributes["zr_name"] == "wsr-88d"


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no real calendar": ({"time": {"calendar": "360_day"}}, "calendar '360_day'"),
    "missing time": ({"minutes": (0, 1e36)}, "missing values"),
    "infinite time": ({"minutes": (0, np.inf)}, "missing values"),
    "NaN coordinate": ({"x": (1, 2, np.nan, 4)}, "x has missing values"),
    "coordinate that turns": ({"y": (1, 3, 2)}, "neither rises nor falls"),
    "unknown length": ({"axis_units": ("m", "furlong")}, "'furlong'"),
    "degrees and metres": ({"axis_units": ("degrees_north", "m")}, "degrees"),
    "time as text": ({"minutes": ()}, "no frame"),
}


@pytest.mark.parametrize("row", BAD)
def test_bad_coordinates_are_named(tmp_path: Path, row: str) -> None:
    changes, message = BAD[row]
    values = RAIN[: len(changes.get("minutes", (0, 5)))]
    path = write(tmp_path / "a.nc", values, **changes)
    with pytest.raises(InputError, match=message) as caught:
        open_source([path])
    assert str(caught.value).startswith(str(path))


def test_damage_inside_a_frame_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    generator = np.random.default_rng(0)
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", 4), ("y", 100), ("x", 100)):
            file.createDimension(name, size)
        time = file.createVariable("time", "f8", ("time",))
        time.units, time[:] = "minutes since 2020-01-01", np.arange(4) * 5
        variable = file.createVariable(
            "rain_rate", "f4", ("time", "y", "x"), compression="zlib", chunksizes=(1, 100, 100)
        )
        variable.units, variable[:] = "mm h-1", generator.gamma(0.4, 3.0, (4, 100, 100))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(byte ^ 255 for byte in content[middle : middle + 64])
    path.write_bytes(content)
    source = open_source([path])
    with pytest.raises(InputError, match=r"rain_rate, frame \d: cannot be read") as caught:
        [source.read(number) for number in range(4)]
    assert str(caught.value).startswith(str(path))


def open_files() -> int:
    """Files this process holds open; zero where the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def test_more_files_than_may_be_open(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{n:03d}.nc", RAIN + n, minutes=(10 * n, 10 * n + 5)) for n in range(70)
    ]
    source = open_source(paths[::-1])
    before = open_files()
    for number in range(140):
        np.testing.assert_array_equal(source.read(number), RAIN[number % 2] + number // 2)
    assert open_files() - before <= 33
    assert (source.sequence == 0).all()


def test_two_steps_are_refused_even_where_one_is_a_multiple(tmp_path: Path) -> None:
    minutes = [*range(0, 100, 5), *range(100, 200, 10)]
    path = write(tmp_path / "a.nc", np.ones((30, 3, 4)), minutes=minutes)
    with pytest.raises(InputError, match="one time step, got 600 s"):
        open_source([path])


def cut_headers() -> list[Callable[[bytes], bytes]]:
    return [lambda b: b[:40], lambda b: b[:3] + b"\x02" + b[4:], lambda b: b[:8] + b"\xff" * 40]


@pytest.mark.parametrize("number", range(3))
def test_a_damaged_classic_header_is_named(tmp_path: Path, number: int) -> None:
    path = write(tmp_path / "a.nc", format="NETCDF3_CLASSIC")
    path.write_bytes(cut_headers()[number](path.read_bytes()))
    with pytest.raises(InputError) as caught:
        open_source([path])
    assert str(caught.value).startswith(str(path))


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([1, 2, 5]))
def test_no_header_makes_the_size_check_fail_otherwise(content: bytes, version: int) -> None:
    try:
        assert classic_size(b"CDF" + bytes([version]) + content) >= 0
    except (struct.error, LookupError, ValueError):
        pass


@pytest.mark.parametrize(
    "format", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"]
)
def test_the_announced_size_is_that_of_a_whole_file(tmp_path: Path, format: str) -> None:
    path = write(tmp_path / "a.nc", format=format)
    size = path.stat().st_size
    # The last variable may be padded to four bytes.
    assert size - 4 < classic_size(path.read_bytes()) <= size
