"""The number of ranks changes the order of float sums and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.parallel.conftest import run_ranks

# The published tolerances; batches of 7 and 3 leave uneven and empty parts.
TOLERANCES = {
    "float64-sgd-7": 1e-10,
    "float64-sgd-3": 1e-10,
    "float64-adam-7": 1e-7,
    "float32-sgd-7": 1e-5,
}
# Parts of a batch of 16 as unequal machines take them.
SHARES = {2: ["12.4", "15.1", "16.0"], 3: ["5.7.4"]}


REPEATED = "float32-adam-7"


@pytest.fixture(scope="module")
def trained(
    synthetic_shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    """Folder with the runs of all cases for a number of ranks, trained in one job."""

    @cache
    def train(ranks: int) -> Path:
        folder = tmp_path_factory.mktemp(f"on{ranks}")
        cases = [*TOLERANCES, *(f"float64-sgd-16-{shares}" for shares in SHARES.get(ranks, ()))]
        cases += {1: ["float64-sgd-16"], 2: [REPEATED]}.get(ranks, [])
        run_ranks(ranks, "equal_training.py", synthetic_shards, folder, *cases)
        return folder

    return train


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_together_train_as_one_process(trained: Callable[[int], Path], ranks: int) -> None:
    for case, tolerance in TOLERANCES.items():
        alone, together = trained(1) / case, trained(ranks) / case
        samples = [(folder / "samples.jsonl").read_text() for folder in (alone, together)]
        assert samples[0] == samples[1]
        assert largest_difference(alone, together) <= tolerance
        finals = [json.loads((f / "final.json").read_text()) for f in (alone, together)]
        assert finals[1]["ranks"] == ranks
        assert finals[1]["loss"] == pytest.approx(finals[0]["loss"], rel=max(tolerance, 1e-6))


@pytest.mark.parametrize("ranks", [2, 3])
def test_uneven_shares_train_as_one_process(trained: Callable[[int], Path], ranks: int) -> None:
    alone = trained(1) / "float64-sgd-16"
    for shares in SHARES[ranks]:
        together = trained(ranks) / f"float64-sgd-16-{shares}"
        samples = [(folder / "samples.jsonl").read_text() for folder in (alone, together)]
        assert samples[0] == samples[1]
        assert largest_difference(alone, together) <= 1e-10


def test_two_ranks_twice_give_the_same_weights(
    trained: Callable[[int], Path], synthetic_shards: Path, tmp_path: Path
) -> None:
    run_ranks(2, "equal_training.py", synthetic_shards, tmp_path, REPEATED)
    finals = [
        json.loads((folder / REPEATED / "final.json").read_text())
        for folder in (trained(2), tmp_path)
    ]
    assert finals[0]["fingerprint"] == finals[1]["fingerprint"]


def largest_difference(one: Path, other: Path) -> float:
    """Largest difference of a weight, relative to the largest weight of its variable."""
    with np.load(one / "weights.npz") as first, np.load(other / "weights.npz") as second:
        assert set(first) == set(second)
        return max(
            float(np.abs(first[name] - second[name]).max() / np.abs(first[name]).max())
            for name in first
        )
