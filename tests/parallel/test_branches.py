"""Branches on different ranks train the network of one process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
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
ALL = tuple(TOLERANCES)
# Ranks, task, ranks per replica and head: which cases they run.
LAYOUTS = {
    (2, "flood", "2"): ALL,
    (2, "flood", "2-head"): ("float64-sgd-6",),
    # Two modalities on two ranks, both before a rank for the head, and the batch alone divided.
    (2, "landcover", "2"): ALL,
    (2, "landcover", "2-head"): ALL,
    (2, "landcover", "1"): ("float64-sgd-6",),
    (3, "flood", "3"): ("float64-sgd-6",),
    (3, "landcover", "3-head"): ("float64-sgd-6", "float64-adam-5"),
    (4, "flood", "4"): ("float64-sgd-6",),
    (4, "flood", "4-head"): ("float64-adam-5",),
    (4, "flood", "2"): ("float64-adam-5", "float64-sgd-1"),
    (4, "landcover", "2"): ("float64-sgd-6", "float64-adam-5"),
    (4, "landcover", "2-head"): ("float64-sgd-6", "float64-sgd-1"),
    (4, "landcover", "1"): ("float64-sgd-6",),
}
CASES = [
    (ranks, f"{task}-{case}", layout)
    for (ranks, task, layout), cases in LAYOUTS.items()
    for case in cases
]
SPLIT = parse_split("train=0.6,validation=0.2,test=0.2")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of shards for each task."""
    pytest.importorskip("pyflwdir", reason="pyflwdir is not installed: launch/setup.sh brings it")
    folder = tmp_path_factory.mktemp("shards")
    file = write_watershed_file(folder / "valley.nc")
    build_shards(open_source([file]), folder / "flood", SPLIT)
    scene = open_scene([write_scene_file(folder / "scene.nc")])
    build_scene(scene, folder / "landcover", SPLIT)
    return folder


@pytest.fixture(scope="module")
def trained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Folder with the runs of all cases for a number of ranks, trained in one job."""

    @cache
    def train(ranks: int) -> Path:
        folder = tmp_path_factory.mktemp(f"on{ranks}")
        cases = [f"{case}-{layout}" for wanted, case, layout in CASES if wanted == ranks]
        alone = [f"{task}-{case}-1" for task in ("flood", "landcover") for case in ALL]
        run_ranks(ranks, "branch_training.py", shards, folder, *(alone if ranks == 1 else cases))
        return folder

    return train


@pytest.mark.parametrize(("ranks", "case", "layout"), CASES)
def test_spread_branches_train_as_one_process(
    trained: Callable[[int], Path], ranks: int, case: str, layout: str
) -> None:
    tolerance = TOLERANCES[case.split("-", 1)[1]]
    one, other = trained(1) / f"{case}-1", trained(ranks) / f"{case}-{layout}"
    owners = set((other / "owners.txt").read_text().split())
    width, *head = layout.split("-")
    assert len(owners) == int(width) - len(head)
    assert largest_difference(one, other) <= tolerance
    losses = [json.loads((f / "final.json").read_text())["loss"] for f in (one, other)]
    assert losses[1] == pytest.approx(losses[0], rel=max(tolerance, 1e-6))


@pytest.mark.parametrize(("task", "layout"), [("flood", "2"), ("landcover", "2-head")])
def test_a_run_with_spread_branches_resumes_in_one_process(
    trained: Callable[[int], Path], shards: Path, tmp_path: Path, task: str, layout: str
) -> None:
    """Checkpoints hold the parts of all ranks, with what the optimiser knows of them."""
    case = f"{task}-float64-adam-5"
    folder = tmp_path / f"{case}-1"
    shutil.copytree(trained(2) / f"{case}-{layout}", folder)
    (folder / "final.json").unlink()
    for file in (folder / "checkpoints").glob("*00030*"):
        file.unlink()
    run_ranks(1, "branch_training.py", shards, tmp_path, f"{case}-1")
    assert largest_difference(trained(1) / f"{case}-1", folder) <= 1e-7


def largest_difference(one: Path, other: Path) -> float:
    """Largest difference of a weight, relative to the largest weight of its variable."""
    with np.load(one / "weights.npz") as first, np.load(other / "weights.npz") as second:
        assert set(first) == set(second)
        return max(
            float(np.abs(first[name] - second[name]).max() / max(np.abs(first[name]).max(), 1e-12))
            for name in first
        )
