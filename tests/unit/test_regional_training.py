"""Runs of one region, from the weights of another run, on a bench; and many models as one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import yaml

from hvd_nowcast.cli import main
from hvd_nowcast.config import (
    Config,
    NowcastConfig,
    RegionSection,
    StartSection,
    config_from_dict,
    load_config,
)
from hvd_nowcast.errors import ConfigError, InputError, RunFolderError
from hvd_nowcast.loader.landcover import LabelledPatches, fit_band_scaling
from hvd_nowcast.models.nowcast import build_nowcast
from hvd_nowcast.parallel.communicator import SingleProcess
from hvd_nowcast.regions.scores import Scorer
from hvd_nowcast.regions.segment import cut_grid
from hvd_nowcast.regions.serve import RegionalNowcast, ServedRegion, blending_weight
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.convert.scene import open_scene
from hvd_nowcast.shards.scene import SceneReader
from hvd_nowcast.shards.scene_build import build_scene
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.shards.synthetic import synthetic_source
from hvd_nowcast.training.bench import Bench
from hvd_nowcast.training.checkpoint import load_arrays, load_weights
from hvd_nowcast.training.flood import FloodTask
from hvd_nowcast.training.loop import TrainingRun
from hvd_nowcast.training.nowcast import open_nowcast
from hvd_nowcast.training.run_folder import RunFolder
from hvd_nowcast.training.start import start_from
from tests.unit.made_scene import write_scene_file
from tests.unit.test_flood import make_config as flood_config
from tests.unit.test_flood import make_shards as make_watershed

TINY = Path(__file__).parents[2] / "configs/tiny.yaml"
WEST = RegionSection("west", (0, 64, 0, 32))
EAST = RegionSection("east", (0, 64, 32, 64))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> NowcastConfig:
    shards = tmp_path_factory.mktemp("archive") / "shards"
    source = synthetic_source(80, shape=(64, 64), seed=1)
    build_shards(source, shards, parse_split("train=0.7,validation=0.15,test=0.15"))
    config = load_config(
        TINY,
        [
            "data.synthetic=null",
            f"data.shards={shards}",
            "training.steps=6",
            "training.validate_every=3",
            "training.validation_samples=3",
        ],
    )
    assert isinstance(config, NowcastConfig)
    return config


@pytest.fixture(scope="module")
def first(base: NowcastConfig, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = RunFolder(tmp_path_factory.mktemp("runs") / "first")
    train(replace(base, region=WEST), run)
    return run


@pytest.fixture(scope="module")
def bench(base: NowcastConfig, first: RunFolder) -> Iterator[Bench]:
    made = Bench(base, first, SingleProcess())
    yield made
    made.task.close()


def train(config: Config, run: RunFolder, bench: Bench | None = None) -> dict[str, Any]:
    run.start(config)
    return TrainingRun(config, run, SingleProcess(), bench).run()


def learning(base: NowcastConfig, source: RunFolder, *freeze: str, **training: Any) -> Any:
    return replace(
        base,
        region=EAST,
        start=StartSection(str(source.path), freeze),
        training=replace(base.training, **training),
    )


def test_a_bench_gives_what_separate_runs_give_in_any_order(
    base: NowcastConfig, first: RunFolder, bench: Bench, tmp_path: Path
) -> None:
    east = learning(base, first, "down0")
    on_bench = train(east, RunFolder(tmp_path / "east"), bench)
    again = train(replace(base, region=WEST), RunFolder(tmp_path / "west"), bench)
    alone = train(east, RunFolder(tmp_path / "alone"))
    assert on_bench["fingerprint"] == alone["fingerprint"]
    assert again["fingerprint"] == first.read_json("final.json")["fingerprint"]
    assert again["fingerprint"] != alone["fingerprint"]


def test_a_model_that_is_shown_moved_frames_is_scored(base: NowcastConfig, tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed: launch/setup.sh brings it")
    config = replace(base, model=replace(base.model, advection=True), region=WEST)
    run = RunFolder(tmp_path / "run")
    run.start(config)
    task = open_nowcast(config, run)
    score = Scorer(task, 3).score("validation")
    task.close()
    assert np.isfinite(score.loss)
    good, every = score.counts
    assert 0 < good <= every


def test_frozen_layers_stay_and_the_others_move(
    base: NowcastConfig, first: RunFolder, bench: Bench, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    train(learning(base, first, "down", "centre", patience=9), run, bench)
    told = run.read_json("start.json")
    assert told["run"] == str(first.path) and told["skipped"] == []
    assert {name.split("/")[0].rstrip("_ab12") for name in told["frozen"]} >= {"down0", "centre"}
    before, after = (load_arrays(r.best_weights)[0] for r in (first, run))
    for name, array in before.items():
        path = name.split("/", 2)[2]
        if path in told["frozen"]:
            np.testing.assert_array_equal(after[name], array)
    if run.read_json("final.json")["best_step"]:
        assert any((after[name] != before[name]).any() for name in before)


def test_a_network_that_is_shown_noise_starts_from_one_that_is_not(
    base: NowcastConfig, first: RunFolder, tmp_path: Path
) -> None:
    frames = base.data.frames_in, base.data.frames_out
    source = build_nowcast(base.model, *frames)
    load_weights(first.best_weights, source)
    noisy = build_nowcast(replace(base.model, noise=2), *frames)
    moved = start_from(StartSection(str(first.path)), noisy, RunFolder(tmp_path))
    assert not moved.skipped
    assert moved.widened and all(path.endswith("/kernel") for path in moved.widened)
    assert "widened" in str(moved)
    seen = [np.random.default_rng(0).random((1, 32, 32, n), np.float32) for n in (frames[0], 1)]
    silence = np.zeros((1, 32, 32, 2), np.float32)
    forecast = noisy([*seen, silence]).numpy()
    np.testing.assert_allclose(forecast, source(seen).numpy(), atol=1e-6)
    assert np.abs(noisy([*seen, silence + 1]).numpy() - forecast).max() > 1e-5


def test_kernels_are_not_widened_where_more_than_that_differs(
    base: NowcastConfig, first: RunFolder, tmp_path: Path
) -> None:
    other = replace(base.model, noise=2, centre=2 * base.model.centre)
    model = build_nowcast(other, base.data.frames_in, base.data.frames_out)
    moved = start_from(StartSection(str(first.path)), model, RunFolder(tmp_path))
    assert moved.skipped and not moved.widened


def test_a_run_that_starts_good_enough_ends_at_once(
    base: NowcastConfig, first: RunFolder, bench: Bench, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    final = train(learning(base, first, target_loss=1e3), run, bench)
    assert (final["steps"], final["best_step"]) == (0, 0)
    assert load_arrays(run.best_weights)[0].keys() == load_arrays(first.best_weights)[0].keys()


def test_what_cannot_be_started_from_is_a_clear_error(
    base: NowcastConfig, first: RunFolder, bench: Bench, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="there is no layer up9, the model has down0"):
        train(learning(base, first, "up9"), RunFolder(tmp_path / "a"), bench)
    with pytest.raises(RunFolderError, match="not a run folder|no weights yet|missing"):
        train(learning(base, RunFolder(tmp_path / "none")), RunFolder(tmp_path / "b"))
    other = replace(base, model=replace(base.model, filters=(4, 4)))
    with pytest.raises(ConfigError, match=r"model\.filters: must be the same"):
        train(other, RunFolder(tmp_path / "c"), bench)
    with pytest.raises(ConfigError, match="do not lie in the grid"):
        far = RegionSection("far", (0, 99, 0, 9))
        train(replace(base, region=far), RunFolder(tmp_path / "d"), bench)


def test_a_gauge_is_a_region_of_a_watershed(tmp_path: Path) -> None:
    shards = make_watershed(tmp_path)
    tree = {**flood_config(shards), "region": {"name": "g", "gauge": "nowhere"}}
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    whole = config_from_dict(flood_config(shards), "test")
    task = FloodTask(whole, run)  # type: ignore[arg-type]
    names = task.scaling.gauges
    everything = task.windows
    task.turn_to(RegionSection("g", gauge=names[0]))
    assert task.windows == everything // len(names)
    with pytest.raises(ConfigError, match="there is no gauge nowhere"):
        FloodTask(config_from_dict(tree, "test"), run)  # type: ignore[arg-type]
    task.close()


def test_a_river_that_learns_from_another_ends_the_same_on_a_bench(tmp_path: Path) -> None:
    shards = make_watershed(tmp_path)
    source, on_bench, alone = (RunFolder(tmp_path / name) for name in ("source", "bench", "alone"))
    config = config_from_dict(flood_config(shards), "test")
    train(config, source)
    bench = Bench(config, source, SingleProcess())
    learning = replace(
        config,
        start=StartSection(str(source.path)),
        training=replace(config.training, steps=12, validate_every=1),
    )
    final = train(learning, on_bench, bench)
    assert final["best_step"] > 0
    bench.task.close()
    train(learning, alone)
    # The best weights, which are polished after the last step, and not as those from scratch are.
    found, wanted = (load_arrays(run.best_weights)[0] for run in (on_bench, alone))
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)


def empty_corner(dataset: netCDF4.Dataset) -> None:
    dataset["label"][:48, :40] = 0


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("scene")
    file = write_scene_file(place / "scene.nc", empty_corner)
    rule = parse_split("train=0.6,validation=0.2,test=0.2")
    build_scene(open_scene([file]), place / "shards", rule)
    return place / "shards"


def test_patches_of_a_region_have_labels_inside_alone(scene: Path) -> None:
    reader = SceneReader(scene)
    scaling = fit_band_scaling(reader, ["optical"])
    region = RegionSection("r", (48, 96, 0, 40), ((48.0, 0.0), (96.0, 0.0), (96.0, 40.0)))
    inside = LabelledPatches(reader, scaling, 1, 4, 1, 0.0, False, region)
    everywhere = LabelledPatches(reader, scaling, 1, 4, 1, 0.0, False)
    assert 0 < len(inside) < len(everywhere)
    assert inside.pixels[:, 0].min() >= 48 and inside.pixels[:, 1].max() < 40
    reader.close()


@pytest.fixture(scope="module")
def blocks(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four blocks of the scene, of which one has no label, compared under all schemes."""
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("blocks")
    base = {
        "task": "landcover",
        "data": {"shards": str(scene), "patch": 4},
        "model": {"filters": [4], "features": 4, "head": 4},
        "training": {"steps": 10, "validate_every": 5, "global_batch": 8},
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    regions = {
        "base": str(folder / "base.yaml"),
        "cut": {"kind": "grid", "rows": 2, "columns": 2},
        "similarity": {"sources": 1},
        "transfer": {"steps": 4, "validate_every": 2},
        "test_samples": 9,
    }
    (folder / "regions.yaml").write_text(yaml.safe_dump(regions))
    main_ends_well(["regions", "evaluate", str(folder / "regions.yaml"), "--run", f"{folder}/run"])
    return folder


def main_ends_well(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code


def test_all_schemes_are_compared_and_the_empty_block_is_told_of(blocks: Path) -> None:
    scores = json.loads((blocks / "run/scores.json").read_text())
    assert [s["scheme"] for s in scores["schemes"]] == ["scratch", "global", "nearest", "similar"]
    assert scores["regions_without"] == {"R00": "no data"}
    for scheme in scores["schemes"][1:]:
        assert scheme["dependants"] == (3 if scheme["scheme"] == "global" else 2)
        assert scheme["processor"]["total"] > 0 and scheme["skill"] is not None
    for name in ("clusters.png", "schemes.png"):
        assert (blocks / "run/figures" / name).stat().st_size > 10_000


def test_what_is_finished_is_not_trained_again(
    blocks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted((blocks / "run/models").glob("*/*/outcome.json"))
    before = {file: file.stat().st_mtime_ns for file in files}
    command = ["regions", "evaluate", f"{blocks}/regions.yaml", "--run", f"{blocks}/run"]
    with pytest.raises(SystemExit, match="5"):
        main(command)
    assert "already in use" in capsys.readouterr().err
    main_ends_well([*command, "--resume"])
    assert {file: file.stat().st_mtime_ns for file in files} == before
    main_ends_well(["regions", "report", f"{blocks}/regions.yaml", "--run", f"{blocks}/run"])
    page = (blocks / "run/report.html").read_text()
    assert "no model: no data" in page and "data:image/png" in page


def test_many_models_are_no_single_run(blocks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="5"):
        main(["evaluate", f"{blocks}/run"])
    assert "holds the models of many regions" in capsys.readouterr().err


def test_the_models_of_all_blocks_make_one_map(blocks: Path, scene: Path) -> None:
    out = blocks / "map.nc"
    main_ends_well(["forecast", f"{blocks}/run", "--input", str(scene), "--out", str(out)])
    with netCDF4.Dataset(out) as dataset:
        found = np.ma.filled(dataset["land_cover"][:], 0)
    assert found.shape == (96, 80)
    assert (found[:, 5:] > 0).mean() > 0.95


class Constant:
    """A predictor that tells which weights it was given last."""

    frames_in, frames_out, step_seconds, quantity, grid_spacing = 2, 1, 300, "rain_rate", 1000.0

    def take_weights(self, path: Path) -> None:
        self.value = float(path.name)

    def forecast(self, frames: np.ndarray) -> np.ndarray:
        return np.full((1, *frames.shape[1:]), self.value, np.float32)


def test_forecasts_are_blended_where_regions_meet(tmp_path: Path) -> None:
    shape = (40, 60)
    served = []
    for number, region in enumerate(cut_grid(shape, 1, 2)):
        (tmp_path / str(number)).write_bytes(b"")
        served.append(ServedRegion(region, tmp_path / str(number)))
    many = RegionalNowcast(Constant(), served, shape)  # type: ignore[arg-type]
    found = many.forecast(np.zeros((2, *shape), np.float32))[0]
    assert np.isfinite(found).all()
    row = found[7]
    assert row[0] == 0.0 and row[-1] == 1.0
    assert (np.diff(row) >= 0).all() and np.diff(row).max() < 0.15
    with pytest.raises(InputError, match="40 x 60"):
        many.forecast(np.zeros((2, 40, 61), np.float32))


def test_a_polygon_counts_inside_its_outline() -> None:
    region = RegionSection("p", (4, 20, 4, 20), ((4.0, 4.0), (4.0, 20.0), (20.0, 4.0)))
    rows, columns, weight = blending_weight(region, (40, 40))
    assert (rows, columns) == (slice(0, 28), slice(0, 28))
    assert weight[6, 6] > 0.4 and 0 < weight[24, 24] < 1e-3
