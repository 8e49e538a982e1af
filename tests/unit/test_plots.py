"""Figures: that they are drawn from any sane input, and that nothing in them overlaps."""

import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvd_nowcast.errors import InputError, MissingDependencyError, OutputError, RunFolderError
from hvd_nowcast.plots import plot_forecast_file, save_evaluation_figures, save_training_figure
from hvd_nowcast.plots.forecast_file import read_forecast
from hvd_nowcast.plots.maps import COLOUR_SCALES, COLOURS, covered, example_figure, map_places
from hvd_nowcast.plots.scores import scores_figure
from hvd_nowcast.plots.sharing import measured, save_sharing_figure, sharing_figure
from hvd_nowcast.plots.style import save_figure, spread, with_units
from hvd_nowcast.plots.training import read_metrics
from hvd_nowcast.verification.evaluation import Evaluation, Setting
from hvd_nowcast.verification.example import Example

pytest.importorskip("matplotlib")

RAIN = ("rain_rate", "mm h-1", (0.1, 1.0, 5.0, 10.0), 0.1)
VIL = ("vil", "1", (16.0, 74.0, 133.0, 160.0, 181.0, 219.0), None)


ABLATED = (
    "model",
    "optical_flow",
    "model_without_motion",
    "model_newest_frame",
    "model_half_frames",
)


def evaluation(*, kind=RAIN, leads=12, sources=("model", "persistence", "optical_flow"), rain=3.0):
    quantity, units, thresholds, floor = kind
    minutes = tuple(5.0 * (lead + 1) for lead in range(leads))
    setting = Setting(quantity, units, thresholds, minutes, 1000.0, (32, 40), floor)
    generator = np.random.default_rng(0)
    observed = generator.gamma(0.5, 1.0, (leads, 32, 40)) * rain
    observed[:, :3] = np.nan
    forecasts = {source: generator.gamma(0.5, 1.0, observed.shape) * rain for source in sources}
    result = Evaluation.zero(setting, "test", sources).update(forecasts, observed)
    start = np.datetime64("2018-05-16T23:30:00")
    return result.with_start(Example(start, observed[0], observed, forecasts, 9))


def png_size(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    return struct.unpack(">II", content[16:24])


def texts(figure):
    return {
        text.get_text()
        for axes in figure.axes
        for text in (*axes.texts, axes.title, axes._left_title)
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kind": VIL, "rain": 60.0},
        {"leads": 1},
        {"leads": 3, "sources": ("model", "persistence")},
        {"rain": 0.0},
    ],
    ids=["rain", "vil", "one lead time", "without optical flow", "dry"],
)
def test_all_figures_of_an_evaluation(tmp_path, options):
    pytest.importorskip("pysteps")
    result = evaluation(**options)
    scores = json.loads(json.dumps(result.to_json()))
    paths = save_evaluation_figures(scores, result.example, tmp_path / "figures")
    assert [path.name for path in paths] == [
        "scores.png",
        "performance.png",
        "spectra.png",
        "maps.png",
    ]
    assert all(min(png_size(path)) > 300 for path in paths)
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(
        p.name for p in paths
    )


def test_an_ablation_and_the_worst_start_are_drawn(tmp_path):
    pytest.importorskip("pysteps")
    result = evaluation(leads=2, sources=ABLATED)
    paths = save_evaluation_figures(result.to_json(), None, tmp_path, result.worst)
    assert [path.stem for path in paths] == ["scores", "performance", "spectra", "worst"]


def test_without_spectra_and_example_there_are_two(tmp_path):
    scores = Evaluation.zero(
        evaluation(leads=2).setting, "test", ("model",), spectra=False
    ).to_json()
    assert len(save_evaluation_figures(scores, None, tmp_path)) == 2


def test_scores_name_thresholds_and_sources():
    shown = texts(scores_figure(evaluation().to_json()))
    assert {"CSI ≥ 1 mm/h", "FSS ≥ 1 mm/h, 5 km window", "MAE (mm/h), less is better"} <= shown
    assert {"model", "optical flow", "persistence"} <= shown


def test_labels_of_lines_do_not_overlap():
    figure = scores_figure(evaluation(sources=ABLATED).to_json())
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_maps_tell_time_and_score():
    result = evaluation()
    shown = texts(example_figure(result.to_json(), result.example))
    assert {"newest input\n23:30 UTC", "+45 min\n00:15 UTC"} <= shown
    assert any(text.startswith("CSI 0.") for text in shown)


def test_maps_say_why_the_start_was_chosen():
    result = evaluation()
    figure = example_figure(result.to_json(), result.worst, "the start that went worst")
    assert "the start that went worst, of 1 in the test split" in figure.get_suptitle()


def test_maps_show_the_part_with_data():
    frames = np.full((2, 200, 100), np.nan)
    frames[0, 50:60, 20:30] = frames[1, 55:70, 25:40] = 1.0
    assert covered(frames) == (slice(46, 74), slice(18, 42))
    assert covered(frames * np.nan) == (slice(0, 200), slice(0, 100))


def test_every_scale_has_a_colour_for_each_level():
    for scale in COLOUR_SCALES.values():
        assert len(scale.levels) == len(COLOURS)
        assert list(scale.levels) == sorted(set(scale.levels))


@pytest.mark.parametrize(
    ("minutes", "shown"),
    [
        ([5 * k for k in range(1, 13)], [10, 20, 30, 45, 60]),
        ([5, 10, 15], [5, 10, 15]),
        ([15, 30, 45, 60], [15, 30, 45, 60]),
        ([5 * k for k in range(1, 25)], [20, 40, 60, 90, 120]),
        ([6 * k for k in range(1, 10)], [6, 18, 24, 42, 54]),
        ([6 * k for k in range(1, 11)], [12, 18, 30, 42, 60]),
        ([10], [10]),
    ],
)
def test_lead_times_of_maps(minutes, shown):
    assert [minutes[place] for place in map_places(minutes)] == shown


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8), st.floats(0.01, 10))
def test_spread_positions_are_apart_and_in_order(positions, gap):
    moved = np.array(spread(positions, gap))
    order = np.argsort(positions, kind="stable")
    assert (np.diff(moved[order]) >= gap * (1 - 1e-6) - 1e-9).all()
    assert moved.mean() == pytest.approx(np.mean(positions), abs=1e-6)


def test_spread_of_nothing():
    assert spread([], 1.0) == []


def test_spread_leaves_distant_positions():
    assert spread([5.0, 1.0, 3.0], 1.0) == [5.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("units", "text"), [("mm h-1", "MAE (mm/h)"), ("1", "MAE"), ("dBZ", "MAE (dBZ)")]
)
def test_units_for_people(units, text):
    assert with_units("MAE", units) == text


def write_metrics(folder, *lines):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("\n".join(lines))


def test_training_curves(tmp_path):
    records = [{"step": s, "loss": 1 / s, "learning_rate": 1e-3} for s in range(1, 20)]
    records.append({"step": 19, "validation_loss": 0.2})
    write_metrics(tmp_path, *map(json.dumps, records), '{"step": 20, "lo')
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 20
    assert save_training_figure(tmp_path) == tmp_path / "figures" / "training.png"
    assert min(png_size(tmp_path / "figures" / "training.png")) > 300


def test_training_curves_of_nothing(tmp_path):
    with pytest.raises(RunFolderError, match="train some steps"):
        save_training_figure(tmp_path)


def write_forecast(path, *, upwards=False):
    netcdf = pytest.importorskip("netCDF4")
    with netcdf.Dataset(path, "w") as file:
        for name, size in (("time", 3), ("y", 8), ("x", 10)):
            file.createDimension(name, size)
        file.createVariable("time", "f8", ("time",))[:] = [300, 600, 900]
        file.createVariable("forecast_reference_time", "f8", ())[...] = 0
        for name in ("time", "forecast_reference_time"):
            file[name].units = "seconds since 2018-05-16 12:00:00"
        rows = np.arange(8) * 2000.0
        file.createVariable("y", "f8", ("y",))[:] = rows if upwards else rows[::-1]
        rain = file.createVariable("precip_intensity", "f4", ("time", "y", "x"), fill_value=-1.0)
        values = np.ma.masked_all((3, 8, 10), "f4")
        values[:, 2:] = np.arange(6)[:, None]
        rain[:] = values
    return path


def test_forecast_file_is_drawn(tmp_path):
    (path,) = plot_forecast_file(write_forecast(tmp_path / "forecast.nc"), tmp_path / "pictures")
    assert path == tmp_path / "pictures" / "forecast.png"
    assert min(png_size(path)) > 200


def test_forecast_file_is_read(tmp_path):
    down, chance = read_forecast(write_forecast(tmp_path / "down.nc"))
    up, _ = read_forecast(write_forecast(tmp_path / "up.nc", upwards=True))
    assert chance is None
    assert down.minutes == [5.0, 10.0, 15.0]
    assert (down.quantity, down.spacing) == ("rain_rate", 2000.0)
    assert down.start == np.datetime64("2018-05-16T12:00:00")
    assert np.isnan(down.frames[0, 0]).all()
    np.testing.assert_array_equal(up.frames, down.frames[:, ::-1])


@pytest.mark.parametrize("content", [b"", b"not a netCDF file"])
def test_forecast_file_that_is_none(tmp_path, content):
    (tmp_path / "forecast.nc").write_bytes(content)
    with pytest.raises(InputError, match=r"forecast\.nc.*hvd-nowcast forecast"):
        plot_forecast_file(tmp_path / "forecast.nc", tmp_path)


def test_missing_matplotlib_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match="pip install matplotlib"):
        save_figure(lambda: None, tmp_path / "figure.png")


def test_figure_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        save_figure(lambda: None, tmp_path / "file" / "figure.png")


def test_sharing_figure_has_a_bar_for_each_rank_and_division(tmp_path: Path) -> None:
    history = [
        {"step": 0, "shares": [8, 8], "work": [0.1, 0.2], "wait": [0.1, 0.0]},
        {"step": 50, "shares": [11, 5], "work": [0.14, 0.13], "wait": [0.01, 0.02]},
        {"step": 100, "shares": [11, 5]},
    ]
    assert measured(history) == history[:2]
    axes = sharing_figure(history[:2]).axes
    assert [len(panel.patches) for panel in axes] == [4, 4]
    assert axes[1].patches[0].get_width() == pytest.approx(140)
    assert "from step 50" in {axes[1].get_title(loc=side) for side in ("left", "center")}
    assert save_sharing_figure(history, tmp_path / "sharing.png").stat().st_size > 5000
    many = [{**history[0], "step": step} for step in range(20)]
    assert [entry["step"] for entry in measured(many)] == [0, 15, 16, 17, 18, 19]
