"""Nothing is lost when ranks are killed, and a run goes on with any number of ranks."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvd_nowcast.training.checkpoint import CheckpointFolder, load_arrays
from tests.parallel.conftest import start_ranks

TINY = Path(__file__).parents[2] / "configs/tiny.yaml"
STEPS = 60
KILLS = 10
SETTINGS = [
    f"training.steps={STEPS}",
    "training.validate_every=25",
    "training.validation_samples=3",
    "training.checkpoint_every=4",
    "data.synthetic.frames=80",
]
EXACT = ["model.precision=float64", "optimiser.name=sgd", "model.residual=false"]


def train(
    run: Path, ranks: int, *settings: str, fault: str = "none", rank: int = 0, step: int = 0
) -> int:
    arguments: list[Any] = ["train", TINY, "--run", run, "--resume"]
    for setting in (*SETTINGS, *settings):
        arguments += ["--set", setting]
    process = start_ranks(ranks, "faulty_training.py", fault, rank, step, *arguments)
    process.communicate(timeout=240)
    return process.returncode


def steps_done(run: Path) -> int:
    complete = CheckpointFolder(run / "checkpoints", 3).complete()
    return int(load_arrays(complete[-1])[1]["step"]) if complete else 0


def final(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "final.json").read_text())
    return content


def test_ten_killed_ranks_in_a_row_lose_nothing(tmp_path: Path) -> None:
    assert train(tmp_path / "whole", 2) == 0
    generator = random.Random(7)
    run = tmp_path / "killed"
    for _ in range(KILLS):
        before = steps_done(run)
        # Far enough to pass a checkpoint, so that ten kills fit into the run.
        step, rank = generator.randint(4, 7), generator.randint(0, 1)
        assert train(run, 2, fault="kill", rank=rank, step=step) == 137
        assert steps_done(run) == (before + step) // 4 * 4
    assert not (run / "final.json").exists()
    assert train(run, 2) == 0
    for name in ("fingerprint", "loss", "best_loss", "best_step", "steps"):
        assert final(run)[name] == final(tmp_path / "whole")[name]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(10, STEPS + 1, 10))


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_run_of_two_ranks_goes_on_with_another_number(tmp_path: Path, ranks: int) -> None:
    assert train(tmp_path / "whole", 1, *EXACT) == 0
    run = tmp_path / "moved"
    assert train(run, 2, *EXACT, fault="terminate", rank=1, step=21) == 85
    assert 20 < steps_done(run) < STEPS
    assert train(run, ranks, *EXACT) == 0
    whole, _ = load_arrays(CheckpointFolder(tmp_path / "whole/checkpoints", 3).complete()[-1])
    moved, _ = load_arrays(CheckpointFolder(run / "checkpoints", 3).complete()[-1])
    assert set(whole) == set(moved)
    for name, array in whole.items():
        scale = max(float(np.abs(array).max()), 1e-30)
        assert np.abs(moved[name] - array).max() <= 1e-10 * scale, name
