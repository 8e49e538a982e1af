from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from hvd_nowcast.errors import OutputError
from hvd_nowcast.nowcast import watch as watching
from hvd_nowcast.nowcast.inbox import Inbox
from hvd_nowcast.nowcast.watch import RollingNowcast
from tests.unit.test_bad_input import write_radar
from tests.unit.test_forecast import Doubler, read

PATIENT, IMPATIENT = 0.0, 1000.0


class Station:
    """A radar that sends frames, one file each, and the rolling nowcast that waits for them."""

    def __init__(self, folder: Path, keep_hours: float = 24.0) -> None:
        self.inputs, self.out = folder / "in", folder / "out"
        self.inputs.mkdir(exist_ok=True)
        self.keep_hours = keep_hours
        self.restart()

    def restart(self) -> None:
        self.model = Doubler()
        self.rolling = RollingNowcast(self.model, Inbox(self.inputs), self.out, self.keep_hours)

    def send(self, *numbers: int) -> None:
        for number in numbers:
            frame = np.full((1, 6, 8), float(number + 1))
            write_radar(self.inputs / f"{number:04}.nc", frame, minutes=[5 * number])

    def turn(self, now: float = PATIENT) -> str | None:
        # A file is whole when it did not change between two looks.
        return self.rolling.turn(now) or self.rolling.turn(now)

    @property
    def forecasts(self) -> list[str]:
        return sorted(path.name[9:-3] for path in self.out.glob("forecast_*.nc"))

    @property
    def health(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.out / "health.json").read_text())
        return content


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return Station(tmp_path)


def seen(station: Station) -> list[float]:
    values: list[float] = station.model.seen[:, 0, 0].tolist()
    return values


def test_each_new_frame_gives_a_forecast(station: Station) -> None:
    assert station.turn() is None
    assert station.health["state"] == "waiting for frames"
    station.send(0, 1)
    assert station.turn() is None
    assert station.health["missing_frames"] == ["2019-12-31T23:55:00"]
    station.send(2)
    said = station.turn()
    assert said is not None and "4 frames to 20 minutes after 2020-01-01T00:10:00" in said
    station.send(3)
    station.turn()
    assert seen(station) == [2.0, 3.0, 4.0]
    assert station.forecasts == ["20200101T001000", "20200101T001500"]
    assert station.turn() is None
    health = station.health
    assert (health["state"], health["newest_forecast"]) == ("ok", "2020-01-01T00:15:00")
    assert health["forecasts"] == 2


def test_a_restart_goes_on_from_the_folders(station: Station) -> None:
    station.send(0, 1, 2)
    station.turn()
    station.restart()
    assert station.turn() is None
    station.send(3)
    assert station.turn() is not None


def test_after_a_pause_only_the_newest_is_forecast(station: Station) -> None:
    station.send(*range(10))
    station.turn()
    assert station.forecasts == ["20200101T004500"]


def test_a_file_that_still_grows_is_left_alone(station: Station) -> None:
    station.send(0, 1, 2)
    whole = (station.inputs / "0002.nc").read_bytes()
    (station.inputs / "0002.nc").unlink()
    for name in (".0002.nc", "0002.nc.part", "0002.nc"):
        (station.inputs / name).write_bytes(whole[: len(whole) // 2])
        station.rolling.turn(PATIENT)
    (station.inputs / "0002.nc").write_bytes(whole)
    assert station.rolling.turn(PATIENT) is None
    assert station.rolling.turn(PATIENT) is not None
    assert station.health["files_left_out"] == {}


def test_a_late_frame_is_waited_for(station: Station) -> None:
    station.send(0, 2)
    assert station.turn() is None
    station.send(1)
    station.turn()
    assert seen(station) == [1.0, 2.0, 3.0]


def test_a_missing_frame_is_filled_and_its_late_coming_mends_the_forecast(
    station: Station,
) -> None:
    station.send(0, 2)
    station.turn(PATIENT)
    said = station.turn(IMPATIENT)
    assert said is not None and "filled 2020-01-01T00:05:00" in said
    assert seen(station) == [1.0, 2.0, 3.0]
    out = station.out / "forecast_20200101T001000.nc"
    with netCDF4.Dataset(out) as file:
        assert file.filled_frames == "2020-01-01T00:05:00"
    assert station.turn(IMPATIENT) is None
    station.send(1)
    assert station.turn(IMPATIENT) is not None
    with netCDF4.Dataset(out) as file:
        assert "filled_frames" not in file.ncattrs()


def test_two_missing_frames_in_a_row_are_not_made_up(station: Station) -> None:
    station.send(0, 3)
    station.turn(PATIENT)
    assert station.turn(IMPATIENT) is None
    assert station.health["missing_frames"] == ["2020-01-01T00:05:00", "2020-01-01T00:10:00"]
    station.send(4, 5)
    assert station.turn(IMPATIENT) is not None


def test_a_bad_file_is_told_once_and_does_not_stop_the_others(
    station: Station, capsys: pytest.CaptureFixture[str]
) -> None:
    (station.inputs / "0000.nc").write_text("no radar")
    station.send(1, 2, 3)
    assert station.turn() is not None
    station.turn()
    assert list(station.health["files_left_out"]) == ["0000.nc"]
    assert capsys.readouterr().err.count("left out:") == 1


def test_a_frame_of_another_radar_is_left_out(station: Station) -> None:
    station.send(0, 1)
    write_radar(station.inputs / "0002.nc", np.ones((1, 6, 9)), minutes=[10], columns=9)
    station.turn()
    assert station.forecasts == []
    assert list(station.health["files_left_out"])
    station.send(2)
    assert station.turn() is not None


def test_old_forecasts_go_and_other_files_stay(tmp_path: Path) -> None:
    station = Station(tmp_path, keep_hours=0.2)
    (station.out / "forecast_of_mine.nc").write_text("mine")
    for number in range(8):
        station.send(number)
        station.turn()
    assert station.forecasts[:-1] == ["20200101T002500", "20200101T003000", "20200101T003500"]
    assert station.forecasts[-1] == "of_mine"
    np.testing.assert_array_equal(
        read(station.out / "forecast_20200101T003500.nc"), np.full((4, 6, 8), 16.0)
    )


def test_a_full_disk_is_told_once_and_tried_again(
    station: Station, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    station.send(0, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(watching, "make_forecast", full)
        station.turn()
        station.turn()
        assert station.health["state"] == "error"
        assert station.health["problem"] == "the disk is full"
    assert capsys.readouterr().err.count("the disk is full") == 1
    assert station.turn() is not None
    assert station.health["state"] == "ok"


def test_the_heartbeat_goes_on_without_news(station: Station) -> None:
    station.rolling.turn(0.0)
    (station.out / "health.json").unlink()
    station.rolling.turn(1.0)
    assert not (station.out / "health.json").exists()
    station.rolling.turn(60.0)
    assert station.health["state"] == "waiting for frames"


def test_a_folder_that_does_not_exist_yet_is_waited_for(tmp_path: Path) -> None:
    rolling = RollingNowcast(Doubler(), Inbox(tmp_path / "later"), tmp_path / "out")
    assert rolling.turn(0.0) is None
