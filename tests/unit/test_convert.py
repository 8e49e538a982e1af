"""Every input format, on real samples where they are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import RELATIONS
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.convert import FORMATS, open_source
from hvd_nowcast.shards.convert.cf import RATE_UNITS
from hvd_nowcast.shards.index import build_index
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.shards.synthetic import synthetic_source
from tests.unit.test_bad_input import write_radar

h5py = pytest.importorskip("h5py")


@pytest.mark.parametrize(
    ("raw", "converted", "format"),
    [
        ("knmi_20100826", "knmi_20100826_rate.nc", "knmi"),
        ("fmi_20160928", "fmi_20160928_dbz.nc", "fmi-pgm"),
        ("openmrg/openmrg_rad_8d.nc", "openmrg_20150722_rate.nc", "openmrg"),
    ],
)
def test_raw_files_and_their_netcdf_form_agree(
    shared_data: Path, raw: str, converted: str, format: str
) -> None:
    radar = shared_data / "radar"
    first = open_source([radar / "raw" / raw], format)
    second = open_source([radar / converted])
    np.testing.assert_array_equal(first.times, second.times)
    assert first.grid.shape == second.grid.shape
    np.testing.assert_allclose(first.grid.x, second.grid.x, atol=1)
    np.testing.assert_allclose(first.grid.y, second.grid.y, atol=1)
    for frame in (0, len(first.times) // 2, len(first.times) - 1):
        np.testing.assert_allclose(first.read(frame), second.read(frame), rtol=1e-4, atol=0.0051)
    for attribute in ("zr_a", "zr_b"):
        if attribute in second.attributes:
            assert first.attributes[attribute] == second.attributes[attribute]
    assert not first.sequence.any()


@pytest.mark.parametrize(
    ("path", "format"),
    [("raw/knmi_20100826", "knmi"), ("raw/fmi_20160928", "fmi-pgm"), ("raw/openmrg", "openmrg")],
)
def test_formats_are_recognised(shared_data: Path, path: str, format: str) -> None:
    (file, *_) = sorted((shared_data / "radar" / path).iterdir())
    found = [kind.name for kind in FORMATS.values() if kind.recognise(file)]
    assert found[0] == format


@pytest.mark.parametrize("units", RATE_UNITS)
def test_units_become_millimetres_an_hour(tmp_path: Path, units: str) -> None:
    path = write_radar(tmp_path / "a.nc", np.full((12, 6, 8), 7.2 / RATE_UNITS[units]), units=units)
    np.testing.assert_allclose(open_source([path]).read(0), 7.2, rtol=1e-5)


def test_reflectivity_becomes_rain_by_the_named_relation(tmp_path: Path) -> None:
    path = write_radar(tmp_path / "a.nc", np.full((12, 6, 8), 30.0), units="dBZ")
    source = open_source([path])
    # Marshall and Palmer: 30 dBZ is Z = 1000 = 200 R**1.6.
    np.testing.assert_allclose(source.read(0), (1000 / 200) ** (1 / 1.6), rtol=1e-5)
    assert source.attributes["zr_name"] == "marshall-palmer"
    assert open_source([path], relation="fmi").attributes["zr_a"] == 223.0


@pytest.mark.parametrize("relation", RELATIONS.values(), ids=lambda relation: relation.name)
def test_relations_invert(relation: Any) -> None:
    rain = np.array([0.1, 1.0, 30.0])
    np.testing.assert_allclose(relation.rain_rate(relation.reflectivity(rain)), rain)


def test_files_come_in_any_order_and_gaps_split_sequences(tmp_path: Path) -> None:
    late = write_radar(tmp_path / "a.nc", minutes=np.arange(100, 160, 5))
    early = write_radar(tmp_path / "b.nc")
    source = open_source([late, early])
    assert (np.diff(source.times).astype(int) > 0).all()
    assert source.sequence.tolist() == [0] * 12 + [1] * 12
    manifest = build_shards(source, tmp_path / "out", parse_split("train=1"))
    assert len(build_index(manifest, "train", 6, 5)) == 4


def sevir_file(path: Path) -> Path:
    codes = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 5)).astype(np.uint8)
    codes[1, :2] = 255
    with h5py.File(path, "w") as file:
        file["vil"] = codes
        file["id"] = np.array([b"R3", b"R1", b"R2"])
    return path


def test_sevir_events_stay_apart(tmp_path: Path) -> None:
    path = sevir_file(tmp_path / "SEVIR_VIL.h5")
    catalogue = tmp_path / "CATALOG.csv"
    catalogue.write_text(
        "id,time_utc\nR1,2019-01-01 00:00:00\nR2,2019-05-01 00:00:00\nR3,2019-06-02 00:00:00\n"
    )
    source = open_source([path, catalogue])
    assert str(source.times[0]) == "2019-01-01T00:00:00"
    with h5py.File(path) as file:
        first = file["vil"][1, :, :, 0].astype(float)
    np.testing.assert_array_equal(source.read(0), np.where(first == 255, np.nan, first))
    manifest = build_shards(source, tmp_path / "out", parse_split("train=1"))
    assert manifest.quantity == "vil"
    assert len(build_index(manifest, "train", 2, 2)) == 3 * 2
    without = open_source([path])
    assert str(without.times[5]) == "2000-01-02T00:00:00"


def test_sevir_without_a_time_for_an_event_is_named(tmp_path: Path) -> None:
    path = sevir_file(tmp_path / "SEVIR_VIL.h5")
    catalogue = tmp_path / "CATALOG.csv"
    catalogue.write_text("id,time_utc\nR1,2019-01-01 00:00:00\n")
    with pytest.raises(InputError, match="no time for the event R3"):
        open_source([path, catalogue])


def test_damaged_hdf5_and_pgm_are_named(tmp_path: Path) -> None:
    for name, format in (("a.h5", "knmi"), ("b.h5", "sevir"), ("c.pgm", "fmi-pgm")):
        path = tmp_path / name
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"nonsense" * 9)
        with pytest.raises(InputError, match=name):
            open_source([path], format)
    short = tmp_path / "d.pgm"
    short.write_bytes(b"P5\n# obstime 202001010000\n100 100\n255\n" + b"x" * 50)
    with pytest.raises(InputError, match="announces 100 x 100 pixels but holds 50"):
        open_source([short])


def test_synthetic_rain_is_repeatable_moves_and_looks_like_rain() -> None:
    source, again = (synthetic_source(40, (64, 96), seed=3) for _ in range(2))
    frames = np.stack([source.read(number) for number in range(40)])
    np.testing.assert_array_equal(frames[17], again.read(17))
    assert not np.array_equal(frames[0], synthetic_source(1, (64, 96), seed=4).read(0))
    assert 0.1 < (frames >= 0.1).mean() < 0.35
    still, ahead = (np.abs(frames[i] - frames[0]).mean() for i in (0, 6))
    assert ahead > 0.2 * frames[0].mean() > still
    # The power of radar rain falls steeply with wavenumber.
    power = np.abs(np.fft.rfft2(frames[0] - frames[0].mean())) ** 2
    assert power[1:4, 1:4].mean() > 30 * power[20:23, 20:23].mean()
