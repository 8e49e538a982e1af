"""Evaluation: which starts are taken, what comes out, and how archives that do not fit are met."""

import json
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from hvd_nowcast.config import DataSection, config_from_dict
from hvd_nowcast.errors import ConfigError, InputError, MissingDependencyError, OutputError
from hvd_nowcast.evaluate import evaluate_run, write_scores
from hvd_nowcast.nowcast import evaluate as evaluation_module
from hvd_nowcast.nowcast.evaluate import SOURCES, evaluate, score_windows, usable_sources
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.shards.synthetic import synthetic_source
from hvd_nowcast.training.run_folder import RunFolder
from hvd_nowcast.verification.evaluation import POOLING, Evaluation, Setting
from hvd_nowcast.verification.example import Example
from hvd_nowcast.verification.screen import screen_tables
from hvd_nowcast.verification.windows import choose_starts

NO_FLOW = ("model", "persistence")


@dataclass
class FakePredictor:
    """Damps the newest frame; knows nothing."""

    frames_in: int = 3
    frames_out: int = 4
    step_seconds: int = 300
    quantity: str = "rain_rate"
    grid_spacing: float = 1000.0
    fingerprint: str = "f" * 64

    def forecast(self, frames):
        self.shape = frames.shape[1:]
        assert frames.shape[0] == self.frames_in
        return np.repeat(0.8 * np.nan_to_num(frames[-1:]), self.frames_out, axis=0)


class FakeIndex:
    """Windows that start at given times."""

    def __init__(self, times):
        self.times = np.array(times, dtype="datetime64[s]")

    def __len__(self):
        return len(self.times)

    def start_time(self, window):
        return self.times[window]


def setting(**changes):
    minutes = (5.0, 10.0, 15.0, 20.0)
    values = {"quantity": "rain_rate", "units": "mm h-1", "thresholds": (0.1, 1.0, 5.0, 10.0)}
    values |= {"lead_minutes": minutes, "spacing": 1000.0, "shape": (24, 20)}
    return Setting(**(values | {"spectrum_floor": 0.1} | changes))


def windows(count, seed=0):
    generator = np.random.default_rng(seed)
    for number in range(count):
        frames = generator.gamma(0.4, 2.0 + number, (7, 24, 20)).astype(np.float32)
        yield np.datetime64("2020-06-01T00:00:00") + np.timedelta64(number, "h"), frames


def nothing_yet(sources=NO_FLOW, **changes):
    return Evaluation.zero(setting(**changes), "test", sources, spectra=False)


def screen(evaluation):
    return screen_tables(evaluation.to_json())


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive") / "shards"
    source = synthetic_source(200, shape=(40, 48), seed=3)
    build_shards(source, folder, parse_split("train=0.5,validation=0.1,test=0.4"))
    return folder


def test_every_source_is_scored_on_an_archive(archive):
    pytest.importorskip("pysteps")
    result = evaluate(FakePredictor(), archive)
    scores = result.to_json()
    assert scores["lead_minutes"] == [5, 10, 15, 20]
    assert list(scores["scores"]) == list(SOURCES)
    assert result.starts == 6
    assert list(scores["spectra"]["power"]) == ["observed", *SOURCES]
    csi = scores["scores"]["optical_flow"]["csi"]["1.0"]
    assert csi[0] > scores["scores"]["persistence"]["csi"]["1.0"][0]
    assert "not a number" not in json.dumps(scores, allow_nan=False)


def test_scores_go_as_far_as_the_minutes_wanted(archive):
    result = evaluate(FakePredictor(), archive, sources=NO_FLOW, minutes=30)
    scores = result.to_json()
    assert scores["lead_minutes"] == [5, 10, 15, 20, 25, 30]
    assert all(len(scores["scores"][name]["csi"]["1.0"]) == 6 for name in NO_FLOW)
    within = evaluate(FakePredictor(), archive, sources=NO_FLOW, minutes=10).to_json()
    assert within["lead_minutes"] == [5, 10]


def test_every_step_takes_every_window(archive):
    every = evaluate(FakePredictor(), archive, every_minutes=5, sources=NO_FLOW)
    assert every.starts == 80 - 7 + 1


def test_an_archive_of_other_pixels_and_steps_is_scored_on_its_own_grid(archive):
    # It was refused, or scored with pixels taken for what they are not.
    same, coarse = FakePredictor(), FakePredictor(step_seconds=600, grid_spacing=2000.0)
    fitting = evaluate(same, archive, sources=NO_FLOW)
    scored = evaluate(coarse, archive, sources=NO_FLOW)
    assert (same.shape, coarse.shape) == ((40, 48), (20, 24))
    assert scored.setting.lead_minutes == (10.0, 20.0, 30.0, 40.0)
    assert scored.setting.shape == fitting.setting.shape == (40, 48)
    # Persistence of 10 minutes is the same, whichever frames lie between.
    mae = [e.to_json()["scores"]["persistence"]["mae"]["all"] for e in (fitting, scored)]
    assert mae[1][0] == pytest.approx(mae[0][1], rel=0.2)


@pytest.mark.parametrize(
    ("predictor", "options", "error", "match"),
    [
        (FakePredictor(), {"split": "tset"}, ConfigError, "choose from train"),
        (FakePredictor(), {"sources": ("oracle",)}, ConfigError, "unknown source oracle"),
        (FakePredictor(), {"every_minutes": 0}, ConfigError, "positive"),
        (FakePredictor(frames_out=90), {}, InputError, "no 93 frames in a row"),
        (FakePredictor(), {"split": "validation", "every_minutes": 1440}, InputError, "--every 5"),
        (FakePredictor(step_seconds=420), {}, InputError, "every 300 s"),
        (FakePredictor(step_seconds=150), {}, InputError, "every 300 s"),
        (FakePredictor(quantity="vil"), {}, InputError, "trained on vil"),
    ],
)
def test_what_cannot_be_evaluated_is_said(archive, predictor, options, error, match):
    with pytest.raises(error, match=match):
        evaluate(predictor, archive, **options)


@pytest.mark.parametrize(
    ("times", "every", "chosen"),
    [
        (["2020-01-01T00:55", "2020-01-01T01:00", "2020-01-01T01:05"], 60, [1]),
        (["2020-01-01T00:57", "2020-01-01T01:02", "2020-01-01T01:07"], 60, [1]),
        (["2020-01-01T00:00", "2020-01-01T00:05", "2020-01-01T00:10"], 5, [0, 1, 2]),
        (["2020-01-01T00:00", "2020-01-01T00:05", "2020-01-01T00:10"], 1, [0, 1, 2]),
        (["2020-01-01T23:00", "2020-01-02T00:00", "2020-01-02T07:00"], 420, [1, 2]),
    ],
)
def test_starts_are_multiples_within_the_day(times, every, chosen):
    assert choose_starts(FakeIndex(times), every, 300) == chosen


def test_two_halves_equal_the_whole():
    all_windows = list(windows(5))
    whole = score_windows(nothing_yet(), all_windows, FakePredictor())
    parts = [
        score_windows(nothing_yet(), w, FakePredictor()) for w in (all_windows[:2], all_windows[2:])
    ]
    merged = parts[0] + parts[1]
    assert merged.starts == 5
    for source, table in whole.to_json()["scores"].items():
        for metric, keys in table.items():
            for key, values in keys.items():
                assert merged.to_json()["scores"][source][metric][key] == pytest.approx(values)
    assert merged.example.start == whole.example.start
    assert merged.worst.start == whole.worst.start
    assert merged.to_json()["worst"] == whole.to_json()["worst"]


def test_json_is_enough_to_add_evaluations(tmp_path):
    result = score_windows(nothing_yet(), windows(3), FakePredictor())
    path = tmp_path / "deep" / "scores.json"
    write_scores(result.to_json(), path)
    again = Evaluation.from_json(json.loads(path.read_text()))
    assert again.to_json() == result.to_json()
    assert (again + result).starts == 6
    assert len((again + result).records) == 6


def test_different_settings_do_not_add():
    with pytest.raises(ValueError, match="different settings"):
        nothing_yet() + nothing_yet(spacing=2000.0)


def test_scores_of_a_perfect_model():
    class Oracle(FakePredictor):
        def forecast(self, frames):
            return truth

    start, frames = next(windows(1))
    truth = frames[3:]
    table = score_windows(nothing_yet(), [(start, frames)], Oracle()).to_json()["scores"]["model"]
    assert table["csi"]["1.0"] == table["fss"]["1.0@5km"] == table["bias"]["1.0"] == [1.0] * 4
    assert table["mae"]["all"] == table["rmse"]["all"] == [0.0] * 4


def test_the_example_is_the_start_with_the_most_rain():
    dry = np.zeros((7, 24, 20), np.float32)
    first, second = np.datetime64("2020-06-01T00:00:00"), np.datetime64("2020-06-01T01:00:00")
    result = score_windows(nothing_yet(), [(first, dry), (second, dry + 2)], FakePredictor())
    assert isinstance(result.example, Example)
    assert result.example.start == second
    assert_array_equal(result.example.newest, 2.0)
    assert set(result.example.forecasts) == set(NO_FLOW)


def test_table_shows_the_scores_and_how_they_are_pooled():
    table = screen(score_windows(nothing_yet(), windows(2), FakePredictor()))
    assert "FSS at 1.0 mm h-1, 5 km  5 min" in table
    assert "CSI at 1.0 mm h-1  5 min  10 min  15 min" in table
    assert "MAE in mm h-1" in table
    assert "20 min" not in table
    assert f"2 starts of the test split. {POOLING}" in table


def test_vil_is_judged_at_its_second_threshold():
    thresholds = (16.0, 74.0, 133.0, 160.0, 181.0, 219.0)
    empty = nothing_yet(quantity="vil", units="1", thresholds=thresholds, spectrum_floor=None)
    assert "CSI at 74.0" in screen(score_windows(empty, windows(1), FakePredictor()))


def test_without_pysteps_the_rest_is_scored(monkeypatch, capsys):
    def missing():
        raise MissingDependencyError("pip install pysteps")

    monkeypatch.setattr(evaluation_module, "import_pysteps", missing)
    assert usable_sources(SOURCES, 6) == NO_FLOW
    assert "pip install pysteps" in capsys.readouterr().err


def test_one_input_frame_is_too_few_for_optical_flow(capsys):
    pytest.importorskip("pysteps")
    assert usable_sources(SOURCES, 1) == NO_FLOW
    assert "two input frames" in capsys.readouterr().err


def test_without_scores_nothing_is_begun(monkeypatch, archive):
    monkeypatch.setitem(sys.modules, "scores.categorical", None)
    with pytest.raises(MissingDependencyError, match="pip install scores"):
        evaluate(FakePredictor(), archive)


@pytest.mark.parametrize("own_shards", [True, False])
def test_a_run_gets_scores_and_figures(monkeypatch, tmp_path, archive, own_shards):
    pytest.importorskip("matplotlib")
    pytest.importorskip("pysteps")
    predictor = FakePredictor()
    shards = str(archive) if own_shards else "elsewhere"
    predictor.config = SimpleNamespace(data=DataSection(shards=str(shards)))
    monkeypatch.setattr(evaluation_module.Predictor, "load", lambda folder: predictor)
    RunFolder(tmp_path / "run").start(config_from_dict({"data": {"shards": "here"}}, "test"))
    other = tmp_path / "copy.json"
    given = None if own_shards else archive
    lines = list(evaluate_run(tmp_path / "run", given, json_file=other))
    assert lines[0].startswith("CSI at 1.0")
    written = json.loads(other.read_text())
    assert json.loads((tmp_path / "run" / "scores.json").read_text()) == written
    assert (tmp_path / "run" / "figures" / "maps.png").is_file()
    assert written["worst"]["starts"]
    assert len(lines) == 1 + 2 + 5


@pytest.mark.parametrize(("option", "value"), [("ablation", True), ("minutes", 90)])
def test_what_is_of_nowcasts_is_refused_for_another_task(tmp_path, option, value):
    config = config_from_dict({"data": {"shards": "here"}, "task": "flood"}, "test")
    RunFolder(tmp_path / "run").start(config)
    with pytest.raises(ConfigError, match=f"--{option}: of nowcasts only"):
        list(evaluate_run(tmp_path / "run", **{option: value}))


def test_a_run_without_matplotlib_gets_scores(monkeypatch, tmp_path, archive, capsys):
    pytest.importorskip("pysteps")
    predictor = FakePredictor()
    monkeypatch.setattr(evaluation_module.Predictor, "load", lambda folder: predictor)
    RunFolder(tmp_path / "run").start(config_from_dict({"data": {"shards": "here"}}, "test"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    lines = list(evaluate_run(tmp_path / "run", archive))
    assert lines[-1] == f"scores: {tmp_path / 'run' / 'scores.json'}"
    assert "pip install matplotlib" in capsys.readouterr().err


def test_scores_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_scores({}, tmp_path / "file" / "scores.json")
