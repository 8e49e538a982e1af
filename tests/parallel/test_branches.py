"""Heads on different ranks train the network of one process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.convert import open_source
from hvd_nowcast.shards.split import parse_split
from tests.parallel.conftest import run_ranks
from tests.unit.made_watershed import write_watershed_file

pytest.importorskip("pyflwdir", reason="pyflwdir is not installed: launch/setup.sh brings it")

TOLERANCES = {
    "float64-sgd-6": 1e-10,
    "float64-adam-5": 1e-7,
    "float32-sgd-6": 1e-5,
    # A batch of 1 leaves ranks without a sample for the recurrent block, and a replica without any.
    "float64-sgd-1": 1e-10,
}
# Ranks and ranks per replica: which cases they run.
LAYOUTS = {
    (2, 2): list(TOLERANCES),
    (3, 3): ["float64-sgd-6"],
    (4, 4): ["float64-sgd-6"],
    (4, 2): ["float64-adam-5", "float64-sgd-1"],
}


@pytest.fixture(scope="module")
def watershed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watershed")
    file = write_watershed_file(folder / "valley.nc")
    split = parse_split("train=0.6,validation=0.2,test=0.2")
    build_shards(open_source([file]), folder / "shards", split)
    return folder / "shards"


@pytest.fixture(scope="module")
def alone(watershed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    cases = [f"{case}-1" for case in TOLERANCES]
    run_ranks(1, "branch_training.py", watershed, folder, *cases)
    return folder


@pytest.mark.parametrize(("ranks", "width"), LAYOUTS)
def test_spread_heads_train_as_one_process(
    alone: Path, watershed: Path, tmp_path: Path, ranks: int, width: int
) -> None:
    wanted = LAYOUTS[ranks, width]
    cases = [f"{case}-{width}" for case in wanted]
    run_ranks(ranks, "branch_training.py", watershed, tmp_path, *cases)
    for case in wanted:
        tolerance = TOLERANCES[case]
        one, other = alone / f"{case}-1", tmp_path / f"{case}-{width}"
        owners = set((other / "owners.txt").read_text().split())
        assert len(owners) == width
        assert largest_difference(one, other) <= tolerance
        losses = [json.loads((f / "final.json").read_text())["loss"] for f in (one, other)]
        assert losses[1] == pytest.approx(losses[0], rel=max(tolerance, 1e-6))


def test_a_run_with_spread_heads_resumes_in_one_process(
    alone: Path, watershed: Path, tmp_path: Path
) -> None:
    """Checkpoints hold the branches of all ranks, with what the optimiser knows of them."""
    case = "float64-adam-5"
    run_ranks(2, "branch_training.py", watershed, tmp_path, f"{case}-2")
    folder = tmp_path / f"{case}-2"
    (folder / "final.json").unlink()
    for file in (folder / "checkpoints").glob("*00030*"):
        file.unlink()
    folder.rename(tmp_path / f"{case}-1")
    run_ranks(1, "branch_training.py", watershed, tmp_path, f"{case}-1")
    assert largest_difference(alone / f"{case}-1", tmp_path / f"{case}-1") <= 1e-7


def largest_difference(one: Path, other: Path) -> float:
    """Largest difference of a weight, relative to the largest weight of its variable."""
    with np.load(one / "weights.npz") as first, np.load(other / "weights.npz") as second:
        assert set(first) == set(second)
        return max(
            float(np.abs(first[name] - second[name]).max() / max(np.abs(first[name]).max(), 1e-12))
            for name in first
        )
