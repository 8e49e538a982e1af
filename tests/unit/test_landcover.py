"""Land cover: the network, its samples, a small training, maps and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import tensorflow as tf
import yaml
from click.testing import CliRunner

from hvd_nowcast.cli import program
from hvd_nowcast.config import LandcoverConfig, LandcoverModelSection, config_from_dict
from hvd_nowcast.errors import ConfigError, InputError
from hvd_nowcast.landcover.forecast import map_scene
from hvd_nowcast.landcover.predictor import LandcoverPredictor
from hvd_nowcast.loader.landcover import LabelledPatches, fit_band_scaling
from hvd_nowcast.models.landcover import build_landcover
from hvd_nowcast.shards.convert.scene import open_scene
from hvd_nowcast.shards.scene import SceneReader
from hvd_nowcast.shards.scene_build import build_scene
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.train import train
from hvd_nowcast.training.landcover import LandcoverTask, class_weights
from hvd_nowcast.training.run_folder import RunFolder
from hvd_nowcast.verification.confusion import class_scores, confusion
from tests.unit.made_scene import CLASSES, COLUMNS, ROWS, make_scene, write_scene_file

BANDS = {"optical": 3, "elevation": 1}


def make_config(shards: Path, **model: Any) -> dict[str, Any]:
    return {
        "task": "landcover",
        "data": {"shards": str(shards), "patch": 4, "modality_dropout": 0.3},
        "model": {"filters": [8, 8], "features": 8, "head": 8, **model},
        "optimiser": {"learning_rate": 1e-2, "reference_batch": 32, "warmup_steps": 5},
        "training": {
            "steps": 160,
            "global_batch": 32,
            "validate_every": 20,
            "checkpoint_every": 20,
        },
    }


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("scene")
    rule = parse_split("train=0.6,validation=0.2,test=0.2")
    build_scene(open_scene([write_scene_file(place / "scene.nc")]), place / "shards", rule)
    return place / "shards"


@pytest.fixture(scope="module")
def run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "config.yaml").write_text(yaml.safe_dump(make_config(shards)))
    train(folder / "config.yaml", folder / "run")
    return folder / "run"


@pytest.mark.parametrize("fusion", ["early", "middle", "late"])
def test_a_patch_and_a_tile_give_a_pixel_the_same_scores(fusion: str) -> None:
    network = build_landcover(LandcoverModelSection(fusion, (4, 4), 3, 5), BANDS, 3)
    generator = np.random.default_rng(0)
    whole = {n: generator.normal(size=(1, 12, 14, 2 * c)) for n, c in BANDS.items()}
    scores = network.model(whole).numpy()
    assert scores.shape == (1, 8, 10, 3)
    patch = {name: values[:, 3:8, 4:9] for name, values in whole.items()}
    np.testing.assert_allclose(network.model(patch)[0, 0, 0], scores[0, 3, 4], rtol=1e-5, atol=1e-6)
    assert len(network.branches) == (1 if fusion == "early" else 2)


def test_late_fusion_starts_as_the_mean_of_the_branches() -> None:
    network = build_landcover(LandcoverModelSection("late", (4,), 3, 5), BANDS, 3)
    generator = np.random.default_rng(0)
    batch = {
        name: tf.constant(generator.normal(size=(2, 5, 5, 2 * count)), tf.float32)
        for name, count in BANDS.items()
    }
    alone = [
        branch([batch[name] for name in names]).numpy()
        for branch, names in zip(network.branches, network.inputs, strict=True)
    ]
    np.testing.assert_allclose(network.model(batch), np.mean(alone, 0), rtol=1e-5, atol=1e-6)


def make_patches(reader: SceneReader, split: int = 1, dropout: float = 0.0) -> LabelledPatches:
    scaling = fit_band_scaling(reader, list(BANDS))
    return LabelledPatches(reader, scaling, split, 4, 2, dropout, True)


def test_scaling_is_of_the_training_pixels(shards: Path) -> None:
    reader = SceneReader(shards)
    scaling = fit_band_scaling(reader, list(BANDS))
    optical, _, _ = make_scene()
    train = reader.split == 1
    np.testing.assert_allclose(scaling.mean["optical"], optical[:, train].mean(1), rtol=1e-5)
    np.testing.assert_allclose(scaling.deviation["optical"], optical[:, train].std(1), rtol=1e-5)
    values = scaling.inputs("optical", np.array([[np.nan, optical[1, 50, 40], 0.0]], np.float32))
    assert values[0, [0, 3, 4]].tolist() == [0.0, 0.0, 1.0]
    reader.close()


def test_a_patch_holds_labels_of_its_split_alone_and_turns_with_them(shards: Path) -> None:
    reader = SceneReader(shards)
    patches = make_patches(reader)
    for number in range(0, len(patches), 97):
        row, column = patches.pixels[number]
        sample = patches.sample(number)
        assert sample["label"][2, 2] == reader.labels[row, column]
        plain = reader.window("elevation", row - 4, column - 4, 8)
        np.testing.assert_array_equal(
            sample["elevation"], patches._scaling.inputs("elevation", plain)
        )
        turned = patches.sample(number, (0, 1, number))
        # Whatever the turn, the pixels inside still lie on the labels.
        pairs = sorted(zip(sample["elevation"][2:6, 2:6, 0].ravel(), sample["label"].ravel()))  # noqa: B905
        moved = sorted(zip(turned["elevation"][2:6, 2:6, 0].ravel(), turned["label"].ravel()))  # noqa: B905
        assert pairs == moved
    reader.close()


def test_a_modality_is_hidden_at_the_wanted_rate(shards: Path) -> None:
    reader = SceneReader(shards)
    patches = make_patches(reader, dropout=0.5)
    samples = [patches.sample(n % len(patches), (0, 1, n)) for n in range(300)]
    hidden = [not sample[name].any() for sample in samples for name in BANDS]
    assert 0.4 < 2 * np.mean(hidden) < 0.6
    again = patches.sample(3, (0, 1, 3))
    assert all((again[name] == values).all() for name, values in samples[3].items())
    reader.close()


def test_class_weights() -> None:
    counts = np.array([100, 400, 0, 100])
    assert class_weights(counts, "none").tolist() == [0, 1, 1, 0, 1]
    balanced = class_weights(counts, "balanced")
    np.testing.assert_allclose(balanced[1:] * counts, [200, 200, 0, 200])
    root = class_weights(counts, "square-root")
    np.testing.assert_allclose(root**2, balanced, rtol=1e-6)


def test_the_loss_is_the_weighted_cross_entropy(shards: Path, tmp_path: Path) -> None:
    config = config_from_dict(make_config(shards, precision="float64"), "test")
    assert isinstance(config, LandcoverConfig)
    task = LandcoverTask(config, RunFolder(tmp_path / "run", False))
    (batch,) = task.training_batches(slice(0, 4), range(1))
    loss, valid = task.forward(batch, False)
    labels = batch["label"].numpy()
    inputs = {name: batch[name] for name in BANDS}
    scores = task.model(inputs).numpy()
    chances = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    weight = task._class_weights[labels]
    picked = np.take_along_axis(chances, np.maximum(labels[..., None].astype(int) - 1, 0), -1)
    expected = -(np.log(picked[..., 0]) * weight).sum()
    assert float(loss) * task.planned_targets == pytest.approx(expected)
    assert float(valid) * task.planned_targets == pytest.approx(weight.sum())
    task.close()


def test_confusion_and_its_scores_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    observed, given = generator.integers(0, 5, 500), generator.integers(1, 5, 500)
    given = np.where(generator.random(500) < 0.5, np.maximum(observed, 1), given)
    counts = confusion(observed, given, 4)
    parts = confusion(observed[:200], given[:200], 4) + confusion(observed[200:], given[200:], 4)
    np.testing.assert_array_equal(counts, parts)
    known = observed > 0
    truth, guess = observed[known], given[known]
    scores = class_scores(counts)
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(truth, guess))
    assert scores["mean_recall"] == pytest.approx(metrics.balanced_accuracy_score(truth, guess))
    assert scores["kappa"] == pytest.approx(metrics.cohen_kappa_score(truth, guess))
    np.testing.assert_allclose(scores["f1"], metrics.f1_score(truth, guess, average=None))
    # A pixel without a class is a miss, and no hit of any other class.
    nothing = class_scores(confusion(np.array([1, 2]), np.array([0, 2]), 2))
    assert (nothing["accuracy"], nothing["recall"]) == (0.5, [0.0, 1.0])


def test_training_finds_classes_that_need_both_modalities(run: Path) -> None:
    done = CliRunner().invoke(program, ["evaluate", str(run)])
    assert done.exit_code == 0, done.output
    assert "mean class recall" in done.output
    scores = yaml.safe_load((run / "scores.json").read_text())["scores"]
    assert scores["model"]["accuracy"] > 0.9
    assert scores["without elevation"]["accuracy"] < scores["model"]["accuracy"] - 0.1
    # With the elevation alone, the majority of the rest is still found.
    assert scores["without optical"]["mean_recall"] > 0.4
    assert (run / "figures/maps.png").stat().st_size > 5000
    done = CliRunner().invoke(program, ["report", str(run)])
    assert done.exit_code == 0, done.output
    page = (run / "report.html").read_text()
    assert "mean class recall" in page
    assert "without elevation" in page


def test_a_map_is_the_same_tile_by_tile_in_any_order(run: Path, shards: Path) -> None:
    predictor = LandcoverPredictor.load(run)
    reader = SceneReader(shards)
    whole = predictor.map(reader, (ROWS, COLUMNS))
    assert not whole.classes[:, :5].any()
    assert np.isnan(whole.probability[:, :5]).all()
    assert whole.classes[:, 5:].all()
    again = predictor.tile(reader, 0, 0)
    np.testing.assert_array_equal(again.classes[:ROWS, :COLUMNS], whole.classes)
    shifted = predictor.tile(reader, 40, 30)
    np.testing.assert_array_equal(shifted.classes[:56, :50], whole.classes[40:, 30:])
    reader.close()


def test_maps_are_written_as_netcdf_and_geotiff(
    run: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_scene_file(tmp_path / "scene.nc")
    out = tmp_path / "map.nc"
    arguments = ["forecast", str(run), "--input", str(file), "--out", str(out)]
    done = CliRunner().invoke(program, [*arguments, "--plot", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "forest" in done.output
    assert (tmp_path / "land_cover.png").is_file()
    with netCDF4.Dataset(out) as dataset:
        assert dataset["land_cover"].flag_meanings == " ".join(CLASSES)
        dataset.set_auto_mask(False)
        found = dataset["land_cover"][:]
        assert np.nanmin(dataset["probability"][:]) > 1 / 3
    predictor = LandcoverPredictor.load(run)
    np.testing.assert_array_equal(map_scene(predictor, [shards], out).classes, found)
    rasterio = pytest.importorskip("rasterio")
    map_scene(predictor, [file], tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as image:
        np.testing.assert_array_equal(image.read(1), found)
        assert image.transform.c == 4e5 - 15
        assert image.tags()["class_2"] == "meadow"
    with pytest.raises(ConfigError, match="is written as .nc, .tif or .tiff"):
        map_scene(predictor, [file], tmp_path / "map.png")


def test_what_does_not_fit_the_model_is_refused(run: Path, tmp_path: Path) -> None:
    predictor = LandcoverPredictor.load(run)
    only = write_scene_file(tmp_path / "a.nc", lambda d: d.renameVariable("optical", "label_o"))
    assert map_scene(predictor, [only], tmp_path / "map.nc").classes[:, 5:].all()

    def rename(dataset: Any) -> None:
        dataset.renameVariable("optical", "radar")
        dataset.renameVariable("elevation", "sar")

    other = write_scene_file(tmp_path / "b.nc", rename)
    with pytest.raises(InputError, match="has radar, sar, but the model needs optical, elevation"):
        map_scene(predictor, [other], tmp_path / "map.nc")
    done = CliRunner().invoke(
        program,
        ["forecast", str(run), "--input", str(other), "--out", "x.nc", "--rain", "r.nc"],
    )
    assert isinstance(done.exception, ConfigError)
    assert "--rain means nothing to a landcover run" in str(done.exception)
    tree = make_config(tmp_path / "none")
    tree["data"]["modalities"] = ["lidar"]
    shards = Path(yaml.safe_load((run / "config.yaml").read_text())["data"]["shards"])
    tree["data"]["shards"] = str(shards)
    config = config_from_dict(tree, "test")
    assert isinstance(config, LandcoverConfig)
    with pytest.raises(ConfigError, match="there is no lidar, the scene has"):
        LandcoverTask(config, RunFolder(tmp_path / "run", False))
