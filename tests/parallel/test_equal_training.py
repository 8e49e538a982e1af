"""The number of ranks changes the order of float sums and nothing else."""

from __future__ import annotations

import json
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


@pytest.fixture(scope="module")
def alone(synthetic_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    cases = [*TOLERANCES, "float64-sgd-16"]
    run_ranks(1, "equal_training.py", synthetic_shards, folder, *cases)
    return folder


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_together_train_as_one_process(
    alone: Path, synthetic_shards: Path, tmp_path: Path, ranks: int
) -> None:
    run_ranks(ranks, "equal_training.py", synthetic_shards, tmp_path, *TOLERANCES)
    for case, tolerance in TOLERANCES.items():
        samples = [(folder / case / "samples.jsonl").read_text() for folder in (alone, tmp_path)]
        assert samples[0] == samples[1]
        assert largest_difference(alone / case, tmp_path / case) <= tolerance
        finals = [json.loads((f / case / "final.json").read_text()) for f in (alone, tmp_path)]
        assert finals[1]["ranks"] == ranks
        assert finals[1]["loss"] == pytest.approx(finals[0]["loss"], rel=max(tolerance, 1e-6))


@pytest.mark.parametrize("ranks", [2, 3])
def test_uneven_shares_train_as_one_process(
    alone: Path, synthetic_shards: Path, tmp_path: Path, ranks: int
) -> None:
    cases = [f"float64-sgd-16-{shares}" for shares in SHARES[ranks]]
    run_ranks(ranks, "equal_training.py", synthetic_shards, tmp_path, *cases)
    for case in cases:
        samples = (tmp_path / case / "samples.jsonl").read_text()
        assert samples == (alone / "float64-sgd-16" / "samples.jsonl").read_text()
        assert largest_difference(alone / "float64-sgd-16", tmp_path / case) <= 1e-10


def test_two_ranks_twice_give_the_same_weights(synthetic_shards: Path, tmp_path: Path) -> None:
    prints = []
    for name in ("first", "second"):
        run_ranks(2, "equal_training.py", synthetic_shards, tmp_path / name, "float32-adam-7")
        final = json.loads((tmp_path / name / "float32-adam-7" / "final.json").read_text())
        prints.append(final["fingerprint"])
    assert prints[0] == prints[1]


def largest_difference(one: Path, other: Path) -> float:
    """Largest difference of a weight, relative to the largest weight of its variable."""
    with np.load(one / "weights.npz") as first, np.load(other / "weights.npz") as second:
        assert set(first) == set(second)
        return max(
            float(np.abs(first[name] - second[name]).max() / np.abs(first[name]).max())
            for name in first
        )
