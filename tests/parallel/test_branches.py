"""Branches on different ranks train the network of one process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.convert import open_source
from hvd_nowcast.shards.convert.scene import open_scene
from hvd_nowcast.shards.scene_build import build_scene
from hvd_nowcast.shards.split import parse_split
from tests.parallel.conftest import run_ranks
from tests.unit.made_scene import write_scene_file
from tests.unit.made_watershed import write_watershed_file

TOLERANCES = {
    "float64-sgd-6": 1e-10,
    "float64-adam-5": 1e-7,
    "float32-sgd-6": 1e-5,
    # A batch of 1 leaves ranks without a sample for the recurrent block, and a replica without any.
    "float64-sgd-1": 1e-10,
}
# Task, ranks and ranks per replica: which cases they run.
LAYOUTS = {
    ("flood", 2, 2): list(TOLERANCES),
    ("flood", 3, 3): ["float64-sgd-6"],
    ("flood", 4, 4): ["float64-sgd-6"],
    ("flood", 4, 2): ["float64-adam-5", "float64-sgd-1"],
    # Two modalities on two ranks, two replicas of them, and no branches but the batch divided.
    ("landcover", 2, 2): list(TOLERANCES),
    ("landcover", 4, 2): ["float64-sgd-6", "float64-adam-5"],
    ("landcover", 2, 1): ["float64-sgd-6"],
    ("landcover", 4, 1): ["float64-sgd-6"],
}
SPLIT = parse_split("train=0.6,validation=0.2,test=0.2")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders by task."""
    pytest.importorskip("pyflwdir", reason="pyflwdir is not installed: launch/setup.sh brings it")
    folder = tmp_path_factory.mktemp("shards")
    file = write_watershed_file(folder / "valley.nc")
    build_shards(open_source([file]), folder / "flood", SPLIT)
    scene = open_scene([write_scene_file(folder / "scene.nc")])
    build_scene(scene, folder / "landcover", SPLIT)
    return {task: folder / task for task in ("flood", "landcover")}


@pytest.fixture(scope="module")
def alone(shards: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    cases = [f"{case}-1" for case in TOLERANCES]
    for task, where in shards.items():
        run_ranks(1, "branch_training.py", task, where, folder / task, *cases)
    return folder


@pytest.mark.parametrize(("task", "ranks", "width"), LAYOUTS)
def test_spread_branches_train_as_one_process(
    alone: Path, shards: dict[str, Path], tmp_path: Path, task: str, ranks: int, width: int
) -> None:
    wanted = LAYOUTS[task, ranks, width]
    cases = [f"{case}-{width}" for case in wanted]
    run_ranks(ranks, "branch_training.py", task, shards[task], tmp_path, *cases)
    for case in wanted:
        tolerance = TOLERANCES[case]
        one, other = alone / task / f"{case}-1", tmp_path / f"{case}-{width}"
        owners = set((other / "owners.txt").read_text().split())
        assert len(owners) == width
        assert largest_difference(one, other) <= tolerance
        losses = [json.loads((f / "final.json").read_text())["loss"] for f in (one, other)]
        assert losses[1] == pytest.approx(losses[0], rel=max(tolerance, 1e-6))


def test_a_run_with_spread_heads_resumes_in_one_process(
    alone: Path, shards: dict[str, Path], tmp_path: Path
) -> None:
    """Checkpoints hold the branches of all ranks, with what the optimiser knows of them."""
    case = "float64-adam-5"
    run_ranks(2, "branch_training.py", "flood", shards["flood"], tmp_path, f"{case}-2")
    folder = tmp_path / f"{case}-2"
    (folder / "final.json").unlink()
    for file in (folder / "checkpoints").glob("*00030*"):
        file.unlink()
    folder.rename(tmp_path / f"{case}-1")
    run_ranks(1, "branch_training.py", "flood", shards["flood"], tmp_path, f"{case}-1")
    assert largest_difference(alone / "flood" / f"{case}-1", tmp_path / f"{case}-1") <= 1e-7


def largest_difference(one: Path, other: Path) -> float:
    """Largest difference of a weight, relative to the largest weight of its variable."""
    with np.load(one / "weights.npz") as first, np.load(other / "weights.npz") as second:
        assert set(first) == set(second)
        return max(
            float(np.abs(first[name] - second[name]).max() / max(np.abs(first[name]).max(), 1e-12))
            for name in first
        )
