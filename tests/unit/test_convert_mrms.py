"""MRMS files: by a stand-in for the GRIB library, and by the library itself where it is there."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hvd_nowcast.errors import InputError, MissingDependencyError
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.convert import open_source
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.split import parse_split

# -3 is no coverage, -1 missing.
RAIN = np.array([[-3.0, 0.0, 0.1], [1.5, -1.0, 42.3]])
EXPECTED = np.array([[np.nan, 0.0, 0.1], [1.5, np.nan, 42.3]])
ROWS, COLUMNS = RAIN.shape


class FakeGrib(ModuleType):
    """As much of ``eccodes`` as is called: a message is a dictionary of its keys."""

    class CodesInternalError(Exception):
        """What the library raises."""

    def __init__(self, **changes: Any) -> None:
        super().__init__("eccodes")
        self.released = 0
        self.keys = {
            "discipline": 209, "parameterCategory": 6, "parameterNumber": 1,
            "gridType": "regular_ll", "Nj": ROWS, "Ni": COLUMNS,
            "latitudeOfFirstGridPointInDegrees": 40.01, "latitudeOfLastGridPointInDegrees": 40.0,
            "longitudeOfFirstGridPointInDegrees": 260.0,
            "longitudeOfLastGridPointInDegrees": 260.02,
            "jScansPositively": 0, "iScansNegatively": 0,
            "validityDate": 20200501, "validityTime": 2, "missingValue": 9999.0,
            "values": RAIN,
        } | changes  # fmt: skip

    def codes_new_from_message(self, content: bytes) -> dict[str, Any]:
        if b"broken" in content:
            raise self.CodesInternalError("a broken message")
        return self.keys

    def codes_get(self, message: dict[str, Any], key: str) -> Any:
        return message[key]

    codes_get_long = codes_get_double = codes_get

    def codes_get_values(self, message: dict[str, Any]) -> Any:
        return message["values"].ravel()

    def codes_release(self, _: dict[str, Any]) -> None:
        self.released += 1


def fake_file(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[Path, Any]:
    library = FakeGrib(**changes)
    monkeypatch.setitem(sys.modules, "eccodes", library)
    path = folder / "PrecipRate.grib2"
    path.write_bytes(b"GRIB....7777")
    return path, library


def test_the_extra_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = fake_file(tmp_path, monkeypatch)
    monkeypatch.setitem(sys.modules, "eccodes", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'hvd_nowcast\[grib\]'"):
        open_source([path])


@pytest.mark.parametrize("south_first", [False, True])
@pytest.mark.parametrize("east_first", [False, True])
def test_row_0_is_north_whatever_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, south_first: bool, east_first: bool
) -> None:
    ends = {"latitude": (40.01, 40.0), "longitude": (260.0, 260.02)}
    turned = {"latitude": south_first, "longitude": east_first}
    changes: dict[str, Any] = {
        f"{axis}Of{end}GridPointInDegrees": ends[axis][turned[axis] != (end == "Last")]
        for axis in ends
        for end in ("First", "Last")
    }
    changes |= {"jScansPositively": south_first, "iScansNegatively": east_first}
    changes["values"] = RAIN[:: -1 if south_first else 1, :: -1 if east_first else 1]
    path, library = fake_file(tmp_path, monkeypatch, **changes)
    source = open_source([path])
    np.testing.assert_allclose(source.read(0), EXPECTED, rtol=1e-6)
    assert str(source.times[0]) == "2020-05-01T00:02:00"
    assert source.grid.y[0] > source.grid.y[1]
    assert source.grid.x[0] < source.grid.x[1]
    # A hundredth of a degree of latitude is 1112 m; one of longitude is less by the cosine.
    assert 840 < source.grid.spacing < 1112
    assert library.released == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameterNumber": 2}, "expected PrecipRate"),
        ({"gridType": "lambert"}, "latitude-longitude"),
        ({"Nj": 10**6, "Ni": 10**6}, "1000000 x 1000000"),
        ({"Nj": 4}, "cannot be decoded"),
    ],
)
def test_other_messages_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    path, _ = fake_file(tmp_path, monkeypatch, **changes)
    with pytest.raises(InputError, match=message) as caught:
        open_source([path]).read(0)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.grib2", b"GRIB but cut", "one whole GRIB message"),
        ("a.grib2", b"GRIB broken 7777", "a broken message"),
        ("a.grib2.gz", b"not packed", "cannot be unpacked"),
        ("a.grib2.gz", gzip.compress(b"GRIB....7777", mtime=0)[:-9], "cannot be unpacked"),
    ],
)
def test_damaged_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, message: str
) -> None:
    fake_file(tmp_path, monkeypatch)
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_source([path])
    assert str(caught.value).startswith(str(path))


def write_grib(path: Path, rain: Any, minute: int) -> None:
    """A real GRIB2 file like those of MRMS, rows from the north."""
    grib = pytest.importorskip("eccodes", reason="the extra grib is not installed")
    message = grib.codes_grib_new_from_samples("regular_ll_sfc_grib2")
    keys = {
        "discipline": 209, "parameterCategory": 6, "parameterNumber": 1,
        "Ni": rain.shape[1], "Nj": rain.shape[0],
        "iDirectionIncrementInDegrees": 0.01, "jDirectionIncrementInDegrees": 0.01,
        "latitudeOfFirstGridPointInDegrees": 40.0,
        "latitudeOfLastGridPointInDegrees": 40.0 - 0.01 * (rain.shape[0] - 1),
        "longitudeOfFirstGridPointInDegrees": 260.0,
        "longitudeOfLastGridPointInDegrees": 260.0 + 0.01 * (rain.shape[1] - 1),
        "dataDate": 20200501, "dataTime": minute, "decimalPrecision": 1,
    }  # fmt: skip
    for key, value in keys.items():
        grib.codes_set(message, key, value)
    grib.codes_set_values(message, rain.ravel())
    content = grib.codes_get_message(message)
    grib.codes_release(message)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def test_real_grib_files_become_shards_without_loss(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    folder = tmp_path / "raw"
    folder.mkdir()
    fields = np.round(generator.gamma(0.4, 3.0, (4, 20, 30)), 1)
    fields[:, 0, :5] = -3.0
    for number, rain in enumerate(fields):
        suffix = ".grib2.gz" if number % 2 else ".grib2"
        write_grib(folder / f"{number}{suffix}", rain, 2 * number)
    source = open_source([folder])
    assert source.step_seconds == 120
    build_shards(source, tmp_path / "out", parse_split("train=1"))
    table = Manifest.load(tmp_path / "out").packing.table()
    again = open_source([tmp_path / "out"])
    for number, rain in enumerate(fields):
        expected = np.where(rain < 0, np.nan, rain)
        np.testing.assert_allclose(source.read(number), expected, atol=1e-5)
        np.testing.assert_allclose(again.read(number), expected, atol=1e-5)
    assert table[15] == pytest.approx(1.5)
