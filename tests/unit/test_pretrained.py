"""The model that comes with the package, and the word that stands for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hvd_nowcast import pretrained
from hvd_nowcast.cli import program
from hvd_nowcast.nowcast.predictor import Predictor
from hvd_nowcast.shards.synthetic import synthetic_source
from tests.unit.test_bad_input import write_radar

LARGEST_BYTES = 10_000_000


def test_the_word_stands_for_the_package_but_not_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pretrained.run_path(Path("pretrained")) == pretrained.FOLDER
    assert pretrained.run_path(Path("runs/pretrained")) == Path("runs/pretrained")
    Path("pretrained").mkdir()
    assert pretrained.run_path(Path("pretrained")) == Path("pretrained")


def test_nothing_is_written_into_the_package() -> None:
    assert pretrained.results_folder(pretrained.FOLDER) == Path("pretrained-results")
    assert pretrained.results_folder(Path("runs/mine")) == Path("runs/mine")


def test_no_report_is_written_into_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(program, ["report", "pretrained"])
    assert result.exit_code != 0
    assert not (pretrained.FOLDER / "report.html").exists()


def test_the_model_is_small_and_described() -> None:
    assert (pretrained.FOLDER / "weights/best.npz").stat().st_size < LARGEST_BYTES
    card = (pretrained.FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    for part in ("Data", "Licence", "Scores", "Limits"):
        assert f"## {part}" in card


def test_rain_that_moves_is_forecast_better_than_by_persistence() -> None:
    source = synthetic_source(18, shape=(128, 128), seed=5)
    frames = np.stack([source.read(number) for number in range(18)])
    forecast = Predictor.load(pretrained.FOLDER).forecast(frames[:6])
    observed, last = frames[6:], frames[5]
    assert np.abs(forecast - observed).mean() < 0.8 * np.abs(last - observed).mean()


def test_a_forecast_needs_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    radar = write_radar(tmp_path / "radar.nc")
    out = tmp_path / "forecast.nc"
    command = ["forecast", "pretrained", "--input", str(radar), "--out", str(out)]
    result = CliRunner().invoke(program, command)
    assert result.exit_code == 0, result.output
    assert out.exists()
