"""Probe and shares under mpirun, with one rank slowed to a quarter."""

from __future__ import annotations

import json
from pathlib import Path

from tests.parallel.conftest import error_lines, start_ranks

TINY = Path(__file__).parents[2] / "configs/tiny.yaml"


def run(*arguments: object, ranks: int = 2) -> tuple[int, str]:
    process = start_ranks(ranks, "slowed_training.py", *arguments)
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def test_the_probe_finds_the_slow_rank() -> None:
    large = ["training.global_batch=16", "data.crop=null", "model.filters=[16]", "model.centre=16"]
    large += ["data.synthetic.height=128", "data.synthetic.width=128"]
    status, output = run("probe", TINY, *(o for s in large for o in ("--set", s)))
    assert status == 0, output
    rows = [line.split() for line in output.splitlines() if "CPU:0" in line]
    shares = [int(row[6]) for row in rows]
    assert sum(shares) == 16
    # A busy machine may spoil the probe, which then says so by equal shares.
    assert shares[0] >= 2 * shares[1] or any(int(row[5].rstrip("%")) > 25 for row in rows), output
    assert "ceiling" in output


def test_dynamic_shares_are_used_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    settings = [
        "training.global_batch=8",
        "training.steps=30",
        "training.validate_every=30",
        "balance.every=10",
    ]
    options = [o for s in (*settings, "balance.mode=dynamic") for o in ("--set", s)]
    status, output = run("train", TINY, "--run", folder, *options)
    assert status == 0, output
    history = json.loads((folder / "final.json").read_text())["shares"]
    assert all(sum(entry["shares"]) == 8 for entry in history)
    assert all(min(entry["shares"]) >= 1 for entry in history)
    assert len(history[0]["work"]) == 2
    newest = sorted((folder / "checkpoints").glob("*.json"))[-1]
    kept = json.loads(newest.read_text())["shares"]
    assert [entry["shares"] for entry in kept] == [entry["shares"] for entry in history]


def test_shares_for_another_number_of_ranks_are_one_error(tmp_path: Path) -> None:
    options = ["--set", "balance.mode=manual", "--set", "balance.shares=[2,1,1]"]
    status, output = run("train", TINY, "--run", tmp_path / "run", *options)
    (line,) = error_lines(output)
    assert "balance.shares has 3 numbers, but there are 2 ranks" in line
    assert status == 2
