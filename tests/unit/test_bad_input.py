"""Bad input: one clear error that names the file and the remedy, and nothing half-written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from hvd_nowcast.errors import ConfigError, InputError, OutputError
from hvd_nowcast.shards import writer
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.convert import open_source
from hvd_nowcast.shards.convert.netcdf import open_netcdf
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.split import parse_split

SPLIT = parse_split("train=0.6,validation=0.2,test=0.2")
FRAMES, ROWS, COLUMNS = 12, 6, 8


def write_radar(
    path: Path,
    rain: Any = None,
    *,
    minutes: Any = None,
    units: str | None = "mm h-1",
    name: str = "rain_rate",
    time_units: str | None = "minutes since 2020-01-01",
    columns: int = COLUMNS,
    format: str = "NETCDF4",
    dtype: str = "f4",
    unlimited: bool = False,
    extra: bool = False,
) -> Path:
    """Write a small CF radar file; every argument is one way to spoil it."""
    minutes = np.arange(FRAMES) * 5 if minutes is None else minutes
    with netCDF4.Dataset(path, "w", format=format) as file:
        file.createDimension("time", None if unlimited else len(minutes))
        file.createDimension("y", ROWS)
        file.createDimension("x", columns)
        time = file.createVariable("time", "f8", ("time",))
        if time_units:
            time.units = time_units
        for axis, size in (("y", ROWS), ("x", columns)):
            file.createVariable(axis, "f8", (axis,))[:] = np.arange(size)[
                :: -1 if axis == "y" else 1
            ]
        names = [name, "reflectivity"] if extra else [name]
        for variable_name in names:
            variable = file.createVariable(variable_name, dtype, ("time", "y", "x"), fill_value=-1)
            if units:
                variable.units = units
            if dtype != "S1":
                shape = (len(minutes), ROWS, columns)
                generator = np.random.default_rng(0)
                variable[:] = generator.gamma(0.4, 3.0, shape) if rain is None else rain
        time[:] = minutes
    return path


def cut(path: Path, share: float = 0.5) -> Path:
    os.truncate(path, int(path.stat().st_size * share))
    return path


def spoiled(count: int, value: float) -> Any:
    rain = np.ones((FRAMES, ROWS, COLUMNS))
    rain.reshape(FRAMES, -1)[3, :count] = value
    return rain


def huge(path: Path) -> Path:
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", 10**6), ("y", 30000), ("x", 30000)):
            file.createDimension(name, size)
        file.createVariable("time", "f8", ("time",)).units = "minutes since 2020-01-01"
        variable = file.createVariable(
            "rain_rate", "u2", ("time", "y", "x"), chunksizes=(1, 99, 99)
        )
        variable.units = "mm h-1"
    return path


def backward() -> Any:
    minutes = np.arange(FRAMES) * 5
    minutes[5], minutes[6] = minutes[6], minutes[5]
    return minutes


def text_file(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


BAD_FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "truncated": (lambda p: cut(write_radar(p)), "cannot be opened"),
    "zero length": (lambda p: text_file(p, ""), "the file is empty"),
    "not netCDF": (lambda p: text_file(p, "hello" * 99), "expected netCDF"),
    "missing variable": (lambda p: write_radar(p, name="snow"), "no rain rate or reflectivity"),
    "several variables": (lambda p: write_radar(p, extra=True), "several rain variables"),
    "unknown units": (lambda p: write_radar(p, units="furlong"), "'furlong', expected one of"),
    "no units": (lambda p: write_radar(p, units=None), "expected one of"),
    "all missing": (lambda p: write_radar(p, np.full((12, 6, 8), np.nan)), "all pixels"),
    "negative": (lambda p: write_radar(p, spoiled(9, -3.0)), "9 pixels of a frame"),
    "too large": (lambda p: write_radar(p, spoiled(9, 900.0)), "such as 900"),
    "infinite": (lambda p: write_radar(p, spoiled(9, np.inf)), "such as inf"),
    "characters": (lambda p: write_radar(p, dtype="S1"), "as numbers"),
    "doubled time": (lambda p: write_radar(p, minutes=[0, 5, 5, *range(10, 55, 5)]), "repeated"),
    "backward time": (lambda p: write_radar(p, minutes=backward()), "backward"),
    "time without units": (lambda p: write_radar(p, time_units=None), "not CF time units"),
    "odd time units": (lambda p: write_radar(p, time_units="fortnights"), "not CF time units"),
    "mixed steps": (lambda p: write_radar(p, minutes=[*range(0, 50, 5), 52, 60]), "one time step"),
    "declared too large": (huge, "declares"),
    "absent": (lambda p: p, "there is no such file"),
}


@pytest.mark.parametrize("row", BAD_FILES)
def test_a_bad_file_is_refused_with_its_name_and_a_remedy(tmp_path: Path, row: str) -> None:
    make, message = BAD_FILES[row]
    path, out = make(tmp_path / "radar.nc"), tmp_path / "out"
    with pytest.raises(InputError) as caught:
        build_shards(open_source([path], format="cf"), out, SPLIT)
    problem = caught.value
    assert problem.exit_status == 3
    assert str(problem).startswith(str(path))
    assert message in problem.problem
    assert len(problem.remedy) > 5
    assert not (out / "manifest.json").exists()
    assert not list(out.glob("*.part")) + list(out.glob(".*.part"))


@pytest.mark.parametrize("format", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET"])
@pytest.mark.parametrize("unlimited", [False, True])
@pytest.mark.parametrize("extra", [False, True])
def test_a_half_cut_classic_file_is_seen_although_it_reads(
    tmp_path: Path, format: str, unlimited: bool, extra: bool
) -> None:
    path = write_radar(tmp_path / "old.nc", format=format, unlimited=unlimited, extra=extra)
    open_netcdf(path).close()
    cut(path, 0.7)
    with pytest.raises(InputError, match="announces"):
        open_netcdf(path)


def test_files_that_do_not_fit_together_are_named(tmp_path: Path) -> None:
    first = write_radar(tmp_path / "a.nc")
    other_grid = write_radar(tmp_path / "b.nc", columns=9, minutes=np.arange(60, 120, 5))
    with pytest.raises(InputError, match=r"b\.nc: its grid \(6, 9\)"):
        open_source([first, other_grid])
    other_units = write_radar(tmp_path / "c.nc", units="mm/h", minutes=np.arange(60, 120, 5))
    with pytest.raises(InputError, match=r"c\.nc: holds rain_rate in mm/h"):
        open_source([first, other_units])
    other_step = write_radar(tmp_path / "d.nc", minutes=np.arange(62, 98, 3))
    with pytest.raises(InputError, match="one time step"):
        open_source([first, other_step])


def test_a_few_odd_pixels_are_masked_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rain = np.ones((FRAMES, 30, COLUMNS))
    rain[4, 0, :2] = [-5.0, 700.0]
    path = tmp_path / "radar.nc"
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", FRAMES), ("y", 30), ("x", COLUMNS)):
            file.createDimension(name, size)
        time = file.createVariable("time", "f8", ("time",))
        time.units, time[:] = "minutes since 2020-01-01", np.arange(FRAMES) * 5
        variable = file.createVariable("rain_rate", "f4", ("time", "y", "x"))
        variable.units, variable[:] = "mm h-1", rain
    build_shards(open_source([path]), tmp_path / "out", SPLIT)
    assert "2 impossible pixels were marked as missing" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    path = write_radar(tmp_path / "radar.nc")
    path.chmod(0)
    with pytest.raises(InputError, match="permission"):
        open_source([path], format="cf")


def test_no_permission_is_reported_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_radar(tmp_path / "radar.nc")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(netCDF4, "Dataset", refuse)
    with pytest.raises(InputError, match="no permission to read it. Change its permissions"):
        open_source([path], format="cf")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "read-only"), (errno.EACCES, "write to")],
)
def test_a_failed_write_leaves_nothing_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    path, out = write_radar(tmp_path / "radar.nc"), tmp_path / "out"
    monkeypatch.setattr(writer.os, "fsync", fail)
    with pytest.raises(OutputError, match=remedy) as caught:
        build_shards(open_source([path]), out, SPLIT)
    assert caught.value.exit_status == 6
    assert not out.exists()
    monkeypatch.undo()
    build_shards(open_source([path]), out, SPLIT)
    assert len(Manifest.load(out).shards) == 3


def test_a_really_full_disk_is_reported(tmp_path: Path) -> None:
    # /dev/full stands for a disk without space wherever there is one.
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError) as caught, Path("/dev/full").open("wb", buffering=0) as file:
        file.write(b"x")
    assert "free some space" in str(writer.output_error(Path("f.nc"), caught.value))


def test_a_failed_write_keeps_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(OutputError), writer.atomic_output(path) as aside:
        aside.write_text("new")
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(KeyError), writer.atomic_output(path) as aside:
        raise KeyError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_a_foreign_folder_is_never_touched(tmp_path: Path) -> None:
    path, out = write_radar(tmp_path / "radar.nc"), tmp_path / "mine"
    out.mkdir()
    (out / "precious.nc").write_text("data")
    with pytest.raises(OutputError, match=r"already holds precious\.nc"):
        build_shards(open_source([path]), out, SPLIT)
    assert (out / "precious.nc").read_text() == "data"
    assert len(list(out.iterdir())) == 1


def test_a_killed_build_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = open_source([write_radar(tmp_path / "radar.nc")]), tmp_path / "out"
    read = source.read

    def stop(number: int) -> Any:
        if number == 9:
            raise KeyboardInterrupt
        return read(number)

    source.read = stop
    with pytest.raises(KeyboardInterrupt):
        build_shards(source, out, SPLIT)
    assert not (out / "manifest.json").exists()
    assert not list(out.glob(".*.part"))
    source.read = read
    build_shards(source, out, SPLIT)
    assert sum(entry.frames for entry in Manifest.load(out).shards) == FRAMES
    assert not (out / ".building").exists()


@pytest.mark.parametrize("option", [{"format": "magic"}, {"relation": "magic"}])
def test_unknown_names_list_the_known_ones(tmp_path: Path, option: dict[str, str]) -> None:
    path = write_radar(tmp_path / "radar.nc", np.full((12, 6, 8), 20.0), units="dBZ")
    with pytest.raises(ConfigError, match="magic: expected one of"):
        open_source([path], **option)  # type: ignore[arg-type]


def test_an_unknown_kind_of_file_lists_the_formats(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--format"):
        open_source([text_file(tmp_path / "notes.txt", "hello")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="the folder is empty"):
        open_source([tmp_path / "empty"])
