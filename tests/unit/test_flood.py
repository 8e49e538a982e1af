"""The flood model: its blocks, its training and its evaluation, on a valley of 30 cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

from hvd_nowcast.cli import main
from hvd_nowcast.config import FloodConfig, FloodModelSection, config_from_dict
from hvd_nowcast.errors import ConfigError, RunFolderError, ShardError
from hvd_nowcast.flood.evaluate import flood_scores
from hvd_nowcast.flood.predictor import FloodPredictor
from hvd_nowcast.hydrology.contribution import Units
from hvd_nowcast.hydrology.network import FlowNetwork
from hvd_nowcast.hydrology.watershed import Watershed
from hvd_nowcast.loader.flood import RainDecoder, fit_flow_scaling, persistence_error
from hvd_nowcast.models.flood import ContributionMaps, FloodSizes, PixelContribution, build_flood
from hvd_nowcast.nowcast.predictor import Predictor
from hvd_nowcast.parallel.communicator import SingleProcess
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.convert import open_source
from hvd_nowcast.shards.schema import Packing
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.train import train
from hvd_nowcast.training.bench import set_seed
from hvd_nowcast.training.flood import FloodTask
from hvd_nowcast.training.flood_loss import flood_loss, gaussian_deviation
from hvd_nowcast.training.run_folder import RunFolder
from tests.unit.made_watershed import Edit, write_watershed_file

pytest.importorskip("pyflwdir", reason="pyflwdir is not installed: launch/setup.sh brings it")

SPLIT = parse_split("train=0.6,validation=0.2,test=0.2")
SIZES = FloodSizes(6, 3, (1.0, 2.0))


def make_shards(folder: Path, edit: Edit | None = None) -> Path:
    file = write_watershed_file(folder / "valley.nc", edit)
    build_shards(open_source([file]), folder / "valley", SPLIT)
    return folder / "valley"


def make_config(shards: Path, **model: Any) -> dict[str, Any]:
    return {
        "task": "flood",
        "data": {"shards": str(shards), "frames_in": 10, "frames_out": 2},
        "model": {"heads": 2, "filters": [2], "units": 4, **model},
        "training": {"steps": 20, "global_batch": 8, "validate_every": 10, "checkpoint_every": 10},
        "optimiser": {"warmup_steps": 2},
    }


def parsed(shards: Path, **model: Any) -> FloodConfig:
    config = config_from_dict(make_config(shards, **model), "test")
    assert isinstance(config, FloodConfig)
    return config


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("watershed"))


@pytest.fixture(scope="module")
def run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "config.yaml").write_text(yaml.safe_dump(make_config(shards)))
    train(folder / "config.yaml", folder / "run")
    return folder / "run"


def two_pixels() -> ContributionMaps:
    """One gauge; a near pixel of a quarter of the area, a far one 1.5 steps away."""
    weight = np.array([[[0.25, 0.75]]], np.float32)
    delay = np.array([[[0.0, 1.5]]], np.float32)
    return ContributionMaps(weight, delay, np.stack([weight > 0.5, weight < 0.5], -1) * 1.0)


def test_rain_arrives_after_its_travel_time() -> None:
    rain = np.zeros((1, 5, 1, 2), np.float32)
    rain[0, 1] = 4.0
    block = PixelContribution(two_pixels(), learn=False)
    channels = block(tf.constant(rain), tf.zeros(1, tf.int32)).numpy()[0, :, 0]
    # Two pixels, so the mean pixel weighs 1: the near one 0.5, the far one 1.5.
    np.testing.assert_allclose(channels[:, 0, 0], [0, 2, 0, 0, 0])
    np.testing.assert_allclose(channels[:, 0, 1], [0, 2, 0, 0, 0])
    np.testing.assert_allclose(channels[:, 1, 0], [0, 6, 0, 0, 0])
    np.testing.assert_allclose(channels[:, 1, 1], [0, 0, 3, 3, 0])


def make_inputs(samples: int = 3, seed: int = 0) -> dict[str, tf.Tensor]:
    generator = np.random.default_rng(seed)
    series = generator.normal(size=(samples, 8, 3)).astype(np.float32)
    series[:, :, 1] = 1.0
    return {
        "rain": tf.constant(generator.gamma(0.5, 2.0, (samples, 8, 1, 2)).astype(np.float32)),
        "gauge": tf.zeros(samples, tf.int32),
        "series": tf.constant(series),
    }


@pytest.mark.parametrize("heads", [0, 1, 2])
@pytest.mark.parametrize("output", ["mean", "gaussian", "quantile"])
def test_every_form_starts_as_persistence(heads: int, output: str) -> None:
    section = FloodModelSection(heads=heads, filters=(2,), units=3, output=output)
    inputs = make_inputs()
    found = build_flood(section, two_pixels(), SIZES).model(inputs).numpy()
    last = inputs["series"].numpy()[:, 5, 0]
    for lead in range(2):
        np.testing.assert_allclose(found[:, lead, 0], last, rtol=1e-6)


def test_the_last_known_discharge_skips_gaps() -> None:
    inputs = make_inputs()
    series = inputs["series"].numpy()
    series[1, 4:6, 1] = 0.0
    found = build_flood(FloodModelSection(heads=2, filters=(2,)), two_pixels(), SIZES).model(
        {**inputs, "series": tf.constant(series)}
    )
    assert float(found[1, 0, 0]) == pytest.approx(series[1, 3, 0])


def test_the_parts_make_the_whole() -> None:
    network = build_flood(FloodModelSection(heads=2, filters=(2,)), two_pixels(), SIZES)
    generator = np.random.default_rng(1)
    for variable in network.model.trainable_variables:
        variable.assign(generator.normal(size=variable.shape))
    inputs = make_inputs()
    features = [head([inputs["rain"], inputs["gauge"]]) for head in network.heads]
    parts = network.tail([tf.concat(features, -1), inputs["series"]])
    np.testing.assert_allclose(parts, network.model(inputs), rtol=1e-5)
    named = [variable.path for variable in network.model.trainable_variables]
    assert len(set(named)) == len(named)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_a_sample_does_not_depend_on_its_batch(samples: int) -> None:
    network = build_flood(FloodModelSection(heads=2, filters=(2,)), two_pixels(), SIZES)
    inputs = make_inputs(6)
    whole = network.model(inputs).numpy()
    part = network.model({name: tensor[:samples] for name, tensor in inputs.items()}).numpy()
    np.testing.assert_allclose(part, whole[:samples], rtol=1e-5)


def test_without_the_block_nothing_is_known_of_the_gauge() -> None:
    maps = two_pixels().without_knowledge()
    assert np.ptp(maps.weight) == 0
    assert not maps.delay.any()


def test_losses() -> None:
    forecast = tf.constant([[[1.0, 0.3]], [[2.0, -0.5]]], tf.float64)
    target, weight = (
        tf.constant([[2.0], [9.0]], tf.float64),
        tf.constant([[1.0], [0.0]], tf.float64),
    )
    scale = tf.constant([[2.0], [0.0]], tf.float64)
    section = FloodModelSection(output="gaussian")
    deviation = float(gaussian_deviation(tf.constant(0.3, tf.float64)))
    expected = 0.5 / deviation**2 + np.log(deviation)
    assert float(flood_loss(section, forecast, target, weight, scale)) == pytest.approx(expected)
    quantile = replace(section, output="quantile", quantiles=(0.1, 0.5))
    expected = 2.0 * np.mean([0.1 * (2 - 1.0), 0.5 * (2 - 0.3)])
    assert float(flood_loss(quantile, forecast, target, weight, scale)) == pytest.approx(expected)
    mean = replace(section, output="mean")
    found = float(flood_loss(mean, forecast[..., :1], target, weight, scale))
    assert found == pytest.approx((2.0 * 1.0) ** 2)


def test_error_of_persistence_by_lead_time() -> None:
    flow = np.array([[0.0, 5.0], [1.0, 5.0], [np.nan, 5.0], [3.0, 5.0]], np.float32)
    error = persistence_error(flow, 3)
    # Over one step only 0 to 1 is known, over two 1 to 3, over three 0 to 3; gauge 1 never changes.
    np.testing.assert_allclose(error, [[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])


def valley(flow: np.ndarray) -> Watershed:
    """Two gauges of a river of one node, two measured inflows and no evaporation."""
    steps, node = len(flow), np.zeros(1, np.int64)
    network = FlowNetwork(node, np.ones(1), np.ones(1), np.ones(1))
    return Watershed(
        network, Units(node, node, node, np.ones(1)), ("a", "b"), np.zeros(2, np.int64),
        np.datetime64("2000-01-01", "s") + np.arange(steps) * np.timedelta64(1, "h"),
        flow, np.arange(2 * steps, dtype=np.float32).reshape(steps, 2), np.zeros(2, np.int64),
        np.zeros(0, np.float32),
    )  # fmt: skip


def test_forcing_is_scaled_by_the_training_split() -> None:
    flow = np.ones((40, 2), np.float32)
    train = np.arange(40) < 20
    watershed = valley(flow)
    watershed.inflow[30, 0] = np.nan
    forcing = fit_flow_scaling("none", watershed, train, 2, 1.0).forcing(watershed)
    assert forcing[train].mean(0) == pytest.approx(0.0, abs=1e-6)
    assert forcing[train, 1:].std(0) == pytest.approx(1.0)
    assert not forcing[:, 0].any()
    assert forcing[30, 0] == 0.0
    assert forcing[39, 2] > 2.0


@pytest.mark.parametrize("transform", ["none", "square-root"])
def test_discharge_scaling_goes_both_ways(transform: str) -> None:
    flow = np.random.default_rng(0).gamma(2.0, 50.0, (40, 2)).astype(np.float32)
    flow[3, 1] = np.nan
    scaling = fit_flow_scaling(transform, valley(flow), np.ones(40, bool), 2, 1.0)
    scaled = scaling.forward(flow)
    assert np.nanmean(scaled, 0) == pytest.approx(0.0, abs=1e-5)
    assert np.nanstd(scaled, 0) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(scaling.inverse(scaled), flow, rtol=1e-4)
    assert scaling.inverse(np.array([-99.0, -99.0])).tolist() == [0.0, 0.0]


def test_missing_rain_takes_the_mean_of_the_area() -> None:
    decoder = RainDecoder(
        Packing("uint16", 0.5, 0.0, 65535),
        2.0,
        np.array([[[0.5, 0.25, 0.25]]], np.float32),
        1,
        False,
    )
    codes = np.array([[[[4, 8, 65535]], [[4, 4, 4]]]], np.uint16)
    rain = decoder(tf.constant(codes), tf.zeros(1, tf.int32)).numpy()
    np.testing.assert_allclose(rain[0, 0, 0], [1.0, 2.0, 4 / 3], rtol=1e-6)
    assert not rain[0, 1].any()


def test_least_squares_start_is_better_than_persistence(shards: Path, tmp_path: Path) -> None:
    set_seed(0)
    task = FloodTask(parsed(shards), RunFolder(tmp_path / "run", False))

    def error() -> float:
        sums = sum(np.array(task.forward(b, False)) for b in task.validation_batches(0, 1))
        return float(sums[0] / sums[1])

    before = error()
    task.initialise()
    after = error()
    task.close()
    assert after < 0.5 * before


def test_a_run_trains_and_resumes_to_the_same_weights(run: Path, tmp_path: Path) -> None:
    config = RunFolder(run).config()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.to_dict()))
    whole = train(tmp_path / "config.yaml", tmp_path / "whole")
    assert whole is not None
    assert whole["fingerprint"] == RunFolder(run).read_json("final.json")["fingerprint"]
    again = tmp_path / "again"
    train(tmp_path / "config.yaml", again)
    (again / "final.json").unlink()
    for file in (again / "checkpoints").glob("*000020*"):
        file.unlink()
    resumed = train(tmp_path / "config.yaml", again, resume=True)
    assert resumed is not None
    assert resumed["fingerprint"] == whole["fingerprint"]


def test_what_was_learnt_is_used_as_far_as_it_helps(shards: Path, run: Path) -> None:
    predictor = FloodPredictor.load(run)
    share = predictor.network.lead_share
    found = share.numpy()
    assert ((found >= 0) & (found <= 1)).all()
    validation = predictor.data.batches("validation")
    batches = list(validation.in_order(range(len(validation)), 64))

    def error() -> np.ndarray:
        scaled = predictor.data.scaling
        wrong = [
            (scaled.forward(predictor.predict(b)[..., 0].T, 0).T - b["target"].numpy()) ** 2
            for b in batches
        ]
        return np.concatenate(wrong).mean(0)

    polished = error()
    for other in (0.0, 0.5, 1.0):
        share.assign(np.full(2, other))
        assert (polished <= error() + 1e-6).all()
    # Training goes on from all of it, and a distribution keeps all of it.
    newest = max((run / "checkpoints").glob("*.npz"))
    with np.load(newest) as arrays:
        (name,) = (name for name in arrays.files if name.endswith("lead_share/share"))
        assert arrays[name].tolist() == [1.0, 1.0]
    task = FloodTask(parsed(shards, output="quantile"), RunFolder(run, writable=False))
    assert not task.polish(False)
    task.close()


def test_evaluation_scores_all_sources(run: Path) -> None:
    scores = flood_scores(run)
    assert set(scores["scores"]) == {"model", "persistence", "linear", "lstm"}
    assert scores["lead_minutes"] == [1440.0, 2880.0]
    nse = {source: table["nse"]["outlet"] for source, table in scores["scores"].items()}
    assert nse["model"][1] > nse["persistence"][1]
    assert nse["linear"][1] > nse["persistence"][1]
    assert len(scores["series"]["observed"]) == len(scores["starts"])
    assert (run / "lstm/final.json").exists()


def test_the_command_line_evaluates_and_reports_a_flood_run(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    for verb in ("evaluate", "report"):
        with pytest.raises(SystemExit, match="0"):
            main([verb, str(run)])
    assert "peak_timing" in capsys.readouterr().out
    page = (run / "report.html").read_text()
    assert "NSE 48 h ahead, median of 1 gauges: model" in page
    assert page.count("data:image/png") >= 2


def test_a_flood_run_is_no_nowcast(run: Path) -> None:
    with pytest.raises(RunFolderError, match="a flood run, a nowcast run is needed"):
        Predictor.load(run)


@pytest.mark.parametrize("output", ["gaussian", "quantile"])
def test_uncertainty_covers_what_comes(shards: Path, tmp_path: Path, output: str) -> None:
    tree = make_config(shards, output=output)
    tree["training"]["steps"] = 60
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    train(tmp_path / "config.yaml", tmp_path / "run")
    scores = flood_scores(tmp_path / "run")
    low, high = (np.array(scores["series"][name], float) for name in ("low", "high"))
    assert (low <= high + 1e-6).all()
    assert 0.3 < scores["coverage"] <= 1.0


def test_gauge_gaps_are_left_out_of_the_loss(tmp_path: Path) -> None:
    def gap(dataset: Any) -> None:
        dataset["discharge"][20:40] = -9.0

    task = FloodTask(parsed(make_shards(tmp_path, gap)), RunFolder(tmp_path / "run", False))
    weights = [batch["weight"].numpy() for batch in task.training_batches(slice(0, 8), range(8))]
    assert 0 < np.concatenate(weights).mean() < 1
    assert task.windows < 61
    task.close()


def test_unknown_gauges_and_silent_ones_are_clear_errors(tmp_path: Path, shards: Path) -> None:
    config = parsed(shards)
    unknown = replace(config, data=replace(config.data, gauges=("atlantis",)))
    with pytest.raises(
        ConfigError, match=r"no gauge atlantis \(data.gauges\), the watershed has outlet"
    ):
        FloodTask(unknown, RunFolder(tmp_path / "run", False))
    silent = make_shards(tmp_path, lambda d: d["discharge"].__setitem__(slice(0, 72), -9.0))
    with pytest.raises(ShardError, match="gauge outlet has no discharge in the training split"):
        FloodTask(parsed(silent), RunFolder(tmp_path / "run", False))


def test_rain_shards_alone_are_a_clear_error(tmp_path: Path) -> None:
    from hvd_nowcast.shards.synthetic import synthetic_source

    build_shards(synthetic_source(60, (16, 16), 0), tmp_path / "rain", SPLIT)
    with pytest.raises(ShardError, match="rain alone, without gauges"):
        FloodTask(parsed(tmp_path / "rain"), RunFolder(tmp_path / "run", False))


def test_float64_is_float64_throughout(shards: Path, tmp_path: Path) -> None:
    task = FloodTask(parsed(shards, precision="float64"), RunFolder(tmp_path / "run", False))
    (batch,) = task.training_batches(slice(0, 8), range(1))
    loss, valid = task.forward(batch, True)
    assert (loss.dtype, valid.dtype) == (tf.float64, tf.float64)
    task.close()
    assert keras.config.floatx() == "float32"
    assert SingleProcess().size == 1
