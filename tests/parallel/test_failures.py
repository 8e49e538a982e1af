"""Every way a rank may fail: one message, nobody left behind, the last checkpoint whole."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from hvd_nowcast.training.checkpoint import CheckpointFolder, load_arrays
from tests.parallel.conftest import error_lines, start_ranks

TINY = Path(__file__).parents[2] / "configs/tiny.yaml"
LONGEST_END_SECONDS = 30
SETTINGS = {
    "training.steps": 40,
    "training.validate_every": 20,
    "training.checkpoint_every": 5,
    "training.validation_samples": 3,
    "data.synthetic.frames": 80,
}


def train_with_fault(
    run: Path, fault: str, rank: int, step: int, *more: str, ranks: int = 2
) -> tuple[int, str]:
    arguments = ["train", TINY, "--run", run, *more]
    for name, value in SETTINGS.items():
        arguments += ["--set", f"{name}={value}"]
    process = start_ranks(ranks, "faulty_training.py", fault, rank, step, *arguments)
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def only_error(output: str) -> str:
    lines = error_lines(output)
    assert len(lines) == 1, output
    return lines[0]


def processes_of(run: Path) -> str:
    """Process numbers whose command line names a run."""
    command = ["pgrep", "-f", str(run)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def assert_ended_well(run: Path, output: str, allowed_seconds: float) -> None:
    """Checks what every failure must leave behind."""
    clock = run.parent / "FAULT_TIME"
    if clock.exists():
        assert time.time() - clock.stat().st_mtime < allowed_seconds
    # A rank may die a moment after mpirun has left.
    limit = time.monotonic() + allowed_seconds
    while left := processes_of(run):
        assert time.monotonic() < limit, left
        time.sleep(0.5)
    for checkpoint in CheckpointFolder(run / "checkpoints", 3).complete():
        arrays, _ = load_arrays(checkpoint)
        assert all(np.isfinite(array).all() for array in arrays.values())
    assert not list(run.rglob("*.part"))


@pytest.mark.parametrize(
    ("fault", "rank", "status", "words"),
    [
        ("exception", 1, 1, ["rank 1 on", "RuntimeError: made-up fault"]),
        ("exception", 0, 1, ["rank 0 on", "RuntimeError: made-up fault"]),
        ("exit", 1, 5, ["rank 1 on", "left in the middle of the run with status 5"]),
        ("nan", 1, 7, ["NaN or infinite on rank 1", ".nc frames", "No update was made"]),
        ("disk-full", 0, 6, ["rank 0 on", "cannot be written", "checkpoints"]),
        ("config", 1, 8, ["the configuration", "rank 1 on", "optimiser.learning_rate is 0.123"]),
        ("versions", 1, 8, ["versions must be the same", "rank 1 on", "numpy is '9.9'"]),
        ("terminate", 1, 85, ["stopped by", "everything is saved", "--resume"]),
    ],
)
def test_one_message_and_a_documented_status(
    tmp_path: Path, fault: str, rank: int, status: int, words: list[str]
) -> None:
    run = tmp_path / "run"
    returned, output = train_with_fault(run, fault, rank, 12)
    line = only_error(output)
    assert all(word in line for word in words), output
    assert returned == status, output
    assert_ended_well(run, output, LONGEST_END_SECONDS)
    if (tmp_path / "FAULT_TIME").exists():
        assert CheckpointFolder(run / "checkpoints", 3).complete()[-1].name >= "step-00000010.npz"


def test_a_stuck_read_is_shown_and_ended(tmp_path: Path) -> None:
    run = tmp_path / "run"
    limit = 12
    stall = ["--set", f"training.stall_minutes={limit / 60}"]
    returned, output = train_with_fault(run, "stuck", 1, 30, *stall)
    line = only_error(output)
    assert "rank 1 on" in line
    assert f"no progress for {limit} s while reading the next batch" in line
    # The stack of the thread that is stuck.
    assert "in stuck" in output
    assert returned == 9, output
    assert_ended_well(run, output, limit + LONGEST_END_SECONDS)


def test_a_shard_that_breaks_in_the_middle_of_a_run_is_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train_with_fault(run, "terminate", 0, 3)[0] == 85
    shards = json.loads((run / "shards/manifest.json").read_text())["shards"]
    broken = run / "shards" / next(s["file"] for s in shards if s["split"] == "train")
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    (run.parent / "FAULT_TIME").unlink()
    returned, output = train_with_fault(run, "none", 0, 0, "--resume")
    line = only_error(output)
    assert broken.name in line
    assert "shards check --quarantine" in line
    assert returned == 3, output
    assert_ended_well(run, output, LONGEST_END_SECONDS)


def test_a_killed_rank_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    returned, output = train_with_fault(run, "kill", 1, 12)
    # Nobody is left to explain: mpirun says which rank, and launch/local.sh what to do.
    assert error_lines(output) == []
    assert "signal 9" in output
    assert returned == 137, output
    assert_ended_well(run, output, LONGEST_END_SECONDS)
