"""From radar files to a forecast, by the commands of the README."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.system.conftest import REPOSITORY, Program, environment

pytestmark = pytest.mark.system

STEPS = 40
TINY = ["configs/tiny.yaml", "--set", f"training.steps={STEPS}"]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    command = [sys.executable, "-m", "hvd_nowcast", "train", *TINY, "--run", str(run)]
    subprocess.run(command, check=True, cwd=REPOSITORY, env=environment())
    return run


def wait_for_step(run: Path, step: int) -> None:
    """Wait until the metrics show a step."""
    metrics = run / "metrics.jsonl"
    for _ in range(1200):
        if metrics.exists() and any(
            json.loads(line)["step"] >= step
            for line in metrics.read_text().splitlines()
            if line.endswith("}")
        ):
            return
        time.sleep(0.05)
    raise AssertionError(f"{run} never came to step {step}")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 85), (signal.SIGUSR1, 85), (signal.SIGKILL, -9)]
)
def test_interrupted_at_a_random_step_a_resume_ends_with_the_same_weights(
    whole_run: Path, tmp_path: Path, program: Program, number: int, status: int
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "hvd_nowcast", "train", *TINY, "--run", str(run)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for_step(run, 10)
        time.sleep(random.uniform(0.0, 0.3))
        process.send_signal(number)
        _, messages = process.communicate(timeout=60)
    # A fast machine may have finished: then there is nothing to resume, but nothing is lost either.
    assert process.returncode in (status, 0)
    if process.returncode == 85:
        assert messages.count("error:") == 1
        assert "Continue with the same command and --resume" in messages
    program("train", *TINY, "--run", run, "--resume")
    finals = [json.loads((path / "final.json").read_text()) for path in (whole_run, run)]
    assert finals[0]["fingerprint"] == finals[1]["fingerprint"]
    assert finals[0]["loss"] == finals[1]["loss"]


def test_a_finished_run_is_scored_and_reported(whole_run: Path, program: Program) -> None:
    scores_file = whole_run / "other.json"
    table = program("evaluate", whole_run, "--json", scores_file).stdout
    assert "optical flow" in table
    scores = json.loads(scores_file.read_text())
    assert scores["lead_minutes"] == [5, 10, 15]
    assert set(scores["scores"]) == {"model", "persistence", "optical_flow"}
    for source in scores["scores"].values():
        assert set(source) >= {"csi", "pod", "far", "bias", "fss", "mae", "rmse"}
        assert len(source["csi"]["1.0"]) == len(source["mae"]["all"]) == 3
    program("report", whole_run)
    (page,) = whole_run.glob("*.html")
    assert "CSI" in page.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "frames"),
    [
        ("raw/knmi_20100826", 4),
        ("raw/fmi_20160928", 4),
        ("raw/openmrg", 4),
        ("dwd_yw_20180510_rate.nc", 6),
        ("knmi_20100826_rate.nc", 4),
        ("fmi_20160928_dbz.nc", 4),
        ("openmrg_20150722_rate.nc", 4),
    ],
)
def test_real_radar_from_files_to_forecast(
    shared_data: Path, tmp_path: Path, program: Program, inputs: str, frames: int
) -> None:
    radar, shards, run = shared_data / "radar" / inputs, tmp_path / "shards", tmp_path / "run"
    split = "train=0.5,validation=0.25,test=0.25"
    program("shards", "build", radar, "--out", shards, "--split", split)
    assert "BAD" not in program("shards", "check", shards).stdout
    settings = ["data.synthetic=null", f"data.shards={shards}", f"data.frames_in={frames}"]
    settings += ["training.steps=4", "training.validation_samples=2"]
    flags = [word for setting in settings for word in ("--set", setting)]
    program("train", "configs/tiny.yaml", "--run", run, *flags)
    # The short samples have starts enough only at a quarter of an hour.
    program("evaluate", run, "--every", 15 if "fmi" in inputs else 240 if "dwd" in inputs else 60)
    out = tmp_path / "forecast.nc"
    assert "15 minutes after" in program("forecast", run, "--input", radar, "--out", out).stdout
    assert out.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["train", "absent.yaml", "--run", "x"], 2, "absent.yaml"),
        (["train", "configs/tiny.yaml", "--run", "launch"], 5, "already in use"),
        (
            ["train", "configs/demo.yaml", "--run", "{tmp}/r", "--set", "data.shards=gone"],
            3,
            "gone/",
        ),
        (["evaluate", "launch"], 5, "config.yaml"),
        (["shards", "check", "launch"], 3, "manifest.json"),
        (["shards", "build", "absent.nc", "--out", "{tmp}/s"], 3, "absent.nc"),
        (["forecast", "launch", "--input", "x.nc", "--out", "y.nc"], 5, "not a run folder"),
    ],
)
def test_mistakes_get_one_message_and_their_status(
    program: Program, tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    done = program(*filled, status=status)
    assert done.stderr.count("error:") == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
