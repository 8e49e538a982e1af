"""KNMI, SEVIR, FMI and DWD files made here, right and wrong in one thing each."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from hvd_nowcast.errors import InputError
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.convert import open_source
from hvd_nowcast.shards.index import build_index
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.split import parse_split

h5py = pytest.importorskip("h5py")

COUNTS = np.array([[0, 1, 65535], [50, 4000, 7]], "u2")


def knmi(path: Path, minute: int = 5, **changes: Any) -> Path:
    """One KNMI file; a change replaces an attribute, or the whole image."""
    texts = {
        "calibration_formulas": b"GEO=0.01*PV+0.0",
        "product_datetime_start": f"26-AUG-2010;00:{minute - 5:02d}:00.000".encode(),
        "product_datetime_end": f"26-AUG-2010;00:{minute:02d}:00.000".encode(),
        "geo_row_offset": 3650.0,
    } | changes
    with h5py.File(path, "w") as file:
        image = texts.pop("image", COUNTS)
        if image is not None:
            file["image1/image_data"] = image
        calibration = file.create_group("image1/calibration")
        calibration.attrs["calibration_formulas"] = texts["calibration_formulas"]
        overview = file.create_group("overview")
        for name in ("product_datetime_start", "product_datetime_end"):
            overview.attrs[name] = np.array([texts[name]])
        geographic = file.create_group("geographic")
        numbers = {"geo_column_offset": 0.0, "geo_pixel_size_x": 1.0, "geo_pixel_size_y": -1.0}
        for name, value in {**numbers, "geo_row_offset": texts["geo_row_offset"]}.items():
            geographic.attrs[name] = np.array([value], "f4")
    return path


def test_knmi_counts_become_rates_and_keep_their_place(tmp_path: Path) -> None:
    paths = [knmi(tmp_path / f"{minute}.h5", minute) for minute in (15, 5, 10)]
    source = open_source(paths)
    np.testing.assert_allclose(source.read(0), [[0, 0.12, np.nan], [6, 480, 0.84]], rtol=1e-6)
    assert [str(time)[11:16] for time in source.times] == ["00:05", "00:10", "00:15"]
    np.testing.assert_array_equal(source.grid.y, [-3650500.0, -3651500.0])
    build_shards(source, tmp_path / "out", parse_split("train=1"))
    (entry,) = Manifest.load(tmp_path / "out").shards
    with netCDF4.Dataset(tmp_path / "out" / entry.file) as file:
        file.set_auto_maskandscale(False)
        np.testing.assert_array_equal(file["rain_rate"][0], COUNTS)


BAD_KNMI: dict[str, tuple[dict[str, Any], str]] = {
    "reflectivity": ({"calibration_formulas": b"GEO=0.5*PV-31.5"}, "calibration"),
    "an hour": ({"product_datetime_start": b"25-AUG-2010;23:05:00.000"}, "rainfall of 300 s"),
    "odd month": ({"product_datetime_end": b"26-AOU-2010;00:05:00.000"}, "a time like"),
    "no such day": ({"product_datetime_end": b"36-AUG-2010;00:05:00.000"}, "is no time"),
    "empty time": ({"product_datetime_end": b""}, "a time like"),
    "no image": ({"image": None}, "has no image1/image_data"),
    "floats": ({"image": COUNTS.astype("f4")}, "as uint16"),
    "three dimensions": ({"image": COUNTS[None]}, "as uint16"),
    "no place": ({"geo_row_offset": np.nan}, "geo_row_offset"),
}


@pytest.mark.parametrize("row", BAD_KNMI)
def test_a_wrong_knmi_file_is_named(tmp_path: Path, row: str) -> None:
    changes, message = BAD_KNMI[row]
    path = knmi(tmp_path / "bad.h5", **changes)
    with pytest.raises(InputError, match=message) as caught:
        open_source([path], "knmi")
    assert str(caught.value).startswith(str(path))


def test_two_knmi_files_of_one_time_are_named(tmp_path: Path) -> None:
    paths = [knmi(tmp_path / name) for name in ("a.h5", "b.h5")]
    with pytest.raises(InputError, match=r"b\.h5: .*a repeated time .* after a\.h5"):
        open_source(paths)


def test_a_lying_hdf5_dataset_is_refused_before_it_is_read(tmp_path: Path) -> None:
    for name, format, make in (("a.h5", "knmi", lie_knmi), ("b.h5", "sevir", lie_sevir)):
        path = make(tmp_path / name)
        with pytest.raises(InputError, match="declares"):
            open_source([path], format)


def lie_knmi(path: Path) -> Path:
    knmi(path, image=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("image1/image_data", (10**6, 10**6), "u2", chunks=(100, 100))
    return path


def lie_sevir(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("vil", (10**7, 384, 384, 49), "u1", chunks=(1, 384, 384, 49))
        file["id"] = np.array([b"R1"])
    return path


def sevir(path: Path, names: tuple[bytes, ...] = (b"R3", b"R1"), **changes: Any) -> Path:
    generator = np.random.default_rng(5)
    vil = generator.integers(0, 256, (2, 8, 8, 49)).astype("u1")
    content = {"vil": vil, "id": np.array(names)} | changes
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            if value is not None:
                file[name] = value
    return path


def test_sevir_times_start_two_hours_before_the_catalogued_one(tmp_path: Path) -> None:
    path, catalogue = sevir(tmp_path / "vil.h5"), tmp_path / "CATALOG.csv"
    offsets = ":".join(str(minute) for minute in range(-120, 125, 5))
    rows = [
        f"R3,vis,2018-01-01 00:00:00,{offsets}",
        f"R3,vil,2019-06-02 12:00:00,{offsets}",
        f"R1,vil,2019-06-02 12:05:00,{offsets}",
    ]
    catalogue.write_text("\n".join(["id,img_type,time_utc,minute_offsets", *rows]) + "\n")
    source = open_source([path, catalogue])
    assert [str(source.times[i]) for i in (0, 24, 49)] == [
        "2019-06-02T10:00:00",
        "2019-06-02T12:00:00",
        "2019-06-02T10:05:00",
    ]
    # The two events overlap in time; no window may hold frames of both, though a shard may.
    manifest = build_shards(source, tmp_path / "out", parse_split("train=1"))
    index = build_index(manifest, "train", 13, 12)
    assert len(index) == 2 * (49 - 25 + 1)
    for window in range(len(index)):
        (piece,) = index.pieces(window)
        assert piece.start // 49 == (piece.stop - 1) // 49


def test_events_are_not_cut_by_small_shards(tmp_path: Path) -> None:
    source = open_source([sevir(tmp_path / "vil.h5")])
    manifest = build_shards(source, tmp_path / "out", parse_split("train=1"), 60)
    assert [entry.frames for entry in manifest.shards] == [49, 49]


BAD_SEVIR: dict[str, tuple[dict[str, Any], str]] = {
    "no vil": ({"vil": None}, "has no vil"),
    "no names": ({"id": None}, "has no id"),
    "floats": ({"vil": np.zeros((2, 8, 8, 49), "f4")}, "as uint8"),
    "three dimensions": ({"vil": np.zeros((8, 8, 49), "u1")}, "as uint8"),
    "not square": ({"vil": np.zeros((2, 8, 9, 49), "u1")}, "square"),
    "too few names": ({"id": np.array([b"R1"])}, "names 1 events but holds 2"),
}


@pytest.mark.parametrize("row", BAD_SEVIR)
def test_a_wrong_sevir_file_is_named(tmp_path: Path, row: str) -> None:
    changes, message = BAD_SEVIR[row]
    path = sevir(tmp_path / "bad.h5", **changes)
    with pytest.raises(InputError, match=message) as caught:
        open_source([path], "sevir")
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name\nR1\n", "columns id and time_utc"),
        ("id,time_utc\nR1,yesterday\nR3,today\n", "no SEVIR catalogue"),
        ("id,time_utc\nR1,2019-01-01 00:00:00\n", "no time for the event R3"),
    ],
)
def test_a_wrong_catalogue_is_named(tmp_path: Path, content: str, message: str) -> None:
    catalogue = tmp_path / "CATALOG.csv"
    catalogue.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        open_source([sevir(tmp_path / "vil.h5"), catalogue])
    assert str(caught.value).startswith(str(catalogue))
    with pytest.raises(InputError, match="expected SEVIR VIL files beside the catalogue"):
        open_source([catalogue], "sevir")


def dwd(path: Path, frames: int = 6) -> Path:
    """Like the sample of the wheel: rows northward, hours since an odd start, negative missing."""
    counts = np.arange(frames * 12, dtype="i2").reshape(frames, 3, 4)
    counts[:, 0, 0] = -9999
    counts[2, 1, 1] = -1
    with netCDF4.Dataset(path, "w") as file:
        file.producttype = "YW"
        for name, size in (("time", frames), ("y", 3), ("x", 4)):
            file.createDimension(name, size)
        time = file.createVariable("time", "f8", ("time",))
        time.units = "hours since 2000-01-01T00:50:00"
        time[:] = 160918 + 1 / 6 + np.arange(frames) / 12
        variable = file.createVariable(
            "rainfall_amount", "i2", ("time", "y", "x"), fill_value=-9999
        )
        variable.units, variable.scale_factor = "kg", 0.01
        variable.set_auto_maskandscale(False)
        variable[:] = counts
    return path


def test_dwd_counts_are_kept_and_turned_north_up(tmp_path: Path) -> None:
    source = open_source([dwd(tmp_path / "renamed.nc")])
    assert np.isnan(source.read(0)[2, 0])
    assert np.isnan(source.read(2)[1, 1])
    # Ten counts of 0.01 mm in 5 minutes are 1.2 mm an hour; the third stored row is the first.
    assert source.read(0)[0, 2] == pytest.approx(1.2)
    minutes = source.times.astype("datetime64[m]")
    np.testing.assert_array_equal(source.times, minutes)
    assert set(np.diff(minutes).astype(int)) == {5}
    build_shards(source, tmp_path / "out", parse_split("train=1"))
    (entry,) = Manifest.load(tmp_path / "out").shards
    with netCDF4.Dataset(tmp_path / "out" / entry.file) as file:
        file.set_auto_maskandscale(False)
        np.testing.assert_array_equal(file["rain_rate"][1, ::-1].ravel()[1:], np.arange(13, 24))


def test_dwd_wants_its_one_file(tmp_path: Path) -> None:
    first, second = dwd(tmp_path / "a.nc"), dwd(tmp_path / "b.nc")
    with pytest.raises(InputError, match="expected one file"):
        open_source([first, second], "dwd-pycomlink")


PGM_HEADER = (
    "P5\n# obstime 201609281445\n# metersperpixel_x 999.6\n# metersperpixel_y 999.5\n4 3\n255\n"
)


def pgm(path: Path, change: Callable[[str], str] = str, pixels: bytes = bytes(range(12))) -> Path:
    path.write_bytes(change(PGM_HEADER).encode() + pixels)
    return path


def test_fmi_pixels_become_rain(tmp_path: Path) -> None:
    source = open_source([pgm(tmp_path / "a.pgm", pixels=bytes([0, 255, 104, *range(9)]))])
    frame = source.read(0)
    # 104 is 20 dBZ: Z = 100 = 223 R**1.53.
    assert frame[0, 2] == pytest.approx((100 / 223) ** (1 / 1.53))
    assert frame[0, 0] == 0
    assert np.isnan(frame[0, 1])
    assert source.attributes["zr_name"] == "fmi"


BAD_PGM: dict[str, Callable[[Path], Path]] = {
    "no time": lambda p: pgm(p, lambda h: h.replace("obstime", "other")),
    "no such time": lambda p: pgm(p, lambda h: h.replace("20160928", "20169928")),
    "pixel of no size": lambda p: pgm(p, lambda h: h.replace("999.6", "0")),
    "pixel of any size": lambda p: pgm(p, lambda h: h.replace("999.6", "nan")),
    "sixteen bits": lambda p: pgm(p, lambda h: h.replace("\n255\n", "\n65535\n")),
    "text": lambda p: pgm(p, lambda h: h.replace("P5", "P2")),
    "no pixels": lambda p: pgm(p, lambda h: h.replace("4 3", "0 0")),
    "too many": lambda p: pgm(p, lambda h: h.replace("4 3", "4000000000 3000000000")),
    "half": lambda p: pgm(p, pixels=b"123456"),
    "no end of header": lambda p: pgm(p, lambda h: h[:30], b""),
}


@pytest.mark.parametrize("row", BAD_PGM)
def test_a_wrong_pgm_is_named(tmp_path: Path, row: str) -> None:
    path = BAD_PGM[row](tmp_path / "bad.pgm")
    with pytest.raises(InputError) as caught:
        open_source([path], "fmi-pgm")
    assert str(caught.value).startswith(str(path))
    assert caught.value.exit_status == 3


def test_the_sample_of_the_wheel_is_the_shared_one(shared_data: Path) -> None:
    """The wheel pycomlink need not be imported; the demo installs it for its data alone."""
    found = importlib.util.find_spec("pycomlink")
    folders = found.submodule_search_locations if found else None
    if not folders:
        pytest.skip("pycomlink is not installed: the demo brings it")
    wheel = Path(folders[0]) / "io/example_data/example_areal_reference_data.nc"
    raw = open_source([wheel])
    converted = open_source([shared_data / "radar" / "dwd_yw_20180510_rate.nc"])
    assert len(raw.times) == 3168
    number_of = {time: number for number, time in enumerate(raw.times)}
    for frame in range(0, len(converted.times), 50):
        ours = raw.packing.encode(raw.read(number_of[converted.times[frame]]))
        np.testing.assert_array_equal(ours, converted.packing.encode(converted.read(frame)))
