from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from hvd_nowcast.errors import ConfigError, InputError, OutputError
from hvd_nowcast.nowcast.forecast import make_forecast, possible_starts
from hvd_nowcast.shards import writer
from hvd_nowcast.shards.convert import open_source
from tests.unit.test_bad_input import write_radar

START = "2020-01-01T"


class Doubler:
    """Predicts twice the newest frame, so that a test knows the answer."""

    frames_in = 3
    frames_out = 4
    step_seconds = 300
    quantity = "rain_rate"
    grid_spacing = 1.0
    fingerprint = "f" * 64

    def forecast(self, frames: Any) -> Any:
        assert frames.shape[0] == self.frames_in
        self.seen = frames
        newest = np.nan_to_num(frames[-1])
        return np.repeat(2 * newest[None], self.frames_out, 0).astype(np.float32)


def rising(frames: int = 12) -> Any:
    return np.arange(1.0, frames + 1)[:, None, None] * np.ones((frames, 6, 8))


def read(path: Path, name: str = "precip_intensity") -> Any:
    with netCDF4.Dataset(path) as file:
        return file[name][:]


def test_the_newest_frames_are_used(tmp_path: Path) -> None:
    path, out = write_radar(tmp_path / "a.nc", rising()), tmp_path / "f.nc"
    model = Doubler()
    summary = make_forecast(model, [path], out)
    assert model.seen[:, 0, 0].tolist() == [10.0, 11.0, 12.0]
    np.testing.assert_array_equal(read(out), np.full((4, 6, 8), 24.0))
    np.testing.assert_array_equal(read(out, "leadtime"), [5, 10, 15, 20])
    np.testing.assert_array_equal(read(out, "time"), [300, 600, 900, 1200])
    text = str(summary)
    assert "4 frames to 20 minutes after 2020-01-01T00:55:00 UTC, up to 24.0 mm h-1" in text


def test_another_reference_time(tmp_path: Path) -> None:
    path, model = write_radar(tmp_path / "a.nc", rising()), Doubler()
    make_forecast(model, [path], tmp_path / "f.nc", reference_time=START + "00:20")
    assert model.seen[:, 0, 0].tolist() == [3.0, 4.0, 5.0]


def test_frames_over_several_files(tmp_path: Path) -> None:
    first = write_radar(tmp_path / "a.nc", rising())
    second = write_radar(tmp_path / "b.nc", rising(1) * 99, minutes=[60])
    model = Doubler()
    make_forecast(model, [second, first], tmp_path / "f.nc")
    assert model.seen[:, 0, 0].tolist() == [11.0, 12.0, 99.0]


@pytest.mark.parametrize(
    ("minutes", "message"),
    [
        ([0, 5, 10, 20, 25], "missing: 2020-01-01T00:15:00"),
        ([0, 5], "missing: 2019-12-31T23:55:00"),
        ([0, 10, 20, 30], "missing: 2020-01-01T00:25:00"),
    ],
)
def test_missing_frames_are_named(tmp_path: Path, minutes: list[int], message: str) -> None:
    path = write_radar(tmp_path / "a.nc", rising(len(minutes)), minutes=minutes)
    with pytest.raises(InputError, match=message) as caught:
        make_forecast(Doubler(), [path], tmp_path / "f.nc")
    assert "needs 3 frames" in str(caught.value)
    assert not (tmp_path / "f.nc").exists()


def test_a_time_that_cannot_be_read(tmp_path: Path) -> None:
    path = write_radar(tmp_path / "a.nc", rising())
    with pytest.raises(ConfigError, match="--time soon"):
        make_forecast(Doubler(), [path], tmp_path / "f.nc", reference_time="soon")


def test_another_quantity_is_refused(tmp_path: Path) -> None:
    path, model = write_radar(tmp_path / "a.nc", rising()), Doubler()
    model.quantity = "vil"
    with pytest.raises(InputError, match="trained on vil"):
        make_forecast(model, [path], tmp_path / "f.nc")


def test_other_pixels_are_resampled_and_brought_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The network once saw the pixels as they are, after a warning that it would misjudge motion.
    path, model = write_radar(tmp_path / "a.nc", rising()), Doubler()
    make_forecast(model, [path], tmp_path / "f.nc")
    assert model.seen.shape == (3, 6, 8)
    assert capsys.readouterr().err == ""
    for spacing, shape in ((2.0, (3, 3, 4)), (0.5, (3, 12, 16)), (1.09, (3, 6, 8))):
        model.grid_spacing = spacing
        make_forecast(model, [path], tmp_path / "f.nc")
        assert model.seen.shape == shape
        np.testing.assert_allclose(read(tmp_path / "f.nc"), np.full((4, 6, 8), 24.0), rtol=1e-6)
        assert capsys.readouterr().err.count("are resampled") == (spacing != 1.09)


def test_frames_more_often_than_the_step_of_the_model_are_thinned(tmp_path: Path) -> None:
    path, model = write_radar(tmp_path / "a.nc", rising()), Doubler()
    model.step_seconds = 900
    make_forecast(model, [path], tmp_path / "f.nc")
    assert model.seen[:, 0, 0].tolist() == [6.0, 9.0, 12.0]
    source = open_source([path])
    starts = [str(time)[11:16] for time in possible_starts(model, source, 15)]
    assert starts == ["00:30", "00:45"]
    model.step_seconds = 420
    with pytest.raises(InputError, match="one every 420 s, but these are missing"):
        make_forecast(model, [path], tmp_path / "f.nc")


def test_pixels_the_newest_frame_lacks_have_no_forecast(tmp_path: Path) -> None:
    rain = rising()
    rain[-1, 0] = rain[-3, 1] = np.nan
    out = tmp_path / "f.nc"
    make_forecast(Doubler(), [write_radar(tmp_path / "a.nc", rain)], out)
    mask = np.ma.getmaskarray(read(out))
    assert mask[:, 0].all()
    assert not mask[:, 1:].any()


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_dry_and_missing_input_make_a_whole_file(tmp_path: Path, value: float) -> None:
    path = write_radar(tmp_path / "a.nc", np.full((12, 6, 8), value))
    summary = make_forecast(Doubler(), [path], tmp_path / "f.nc")
    assert summary.largest == 0.0
    assert read(tmp_path / "f.nc").shape == (4, 6, 8)


def test_a_failed_write_keeps_the_older_forecast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = write_radar(tmp_path / "a.nc", rising()), tmp_path / "out/f.nc"
    with pytest.raises(OutputError, match="make it first"):
        make_forecast(Doubler(), [path], out)
    out.parent.mkdir()
    out.write_text("older")

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer.os, "fsync", fail)
    with pytest.raises(OutputError, match="free some space"):
        make_forecast(Doubler(), [path], out)
    assert out.read_text() == "older"
    assert [p.name for p in out.parent.iterdir()] == ["f.nc"]
