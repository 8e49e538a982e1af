"""A rolling nowcast as a process of its own, as a batch job or a service runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.system.conftest import REPOSITORY, Program, environment
from tests.unit.test_bad_input import write_radar

pytestmark = pytest.mark.system

SETTINGS = ["training.steps=2", "training.validate_every=2", "training.validation_samples=1"]
LONGEST_START_SECONDS = 60.0
# From a frame in the folder to its forecast; two looks of half a second are the least.
LONGEST_FORECAST_SECONDS = 10.0


def send(folder: Path, number: int) -> None:
    frame = np.full((1, 6, 8), 1.0 + number)
    write_radar(folder / f"{number:04}.nc", frame, minutes=[5 * number])


def wait_for_forecast(out: Path, frame: str, seconds: float) -> dict[str, Any]:
    limit = time.monotonic() + seconds
    while True:
        health = out / "health.json"
        content: dict[str, Any] = json.loads(health.read_text()) if health.exists() else {}
        if content.get("newest_forecast") == frame:
            return content
        assert time.monotonic() < limit, content
        time.sleep(0.05)


def start(run: Path, inputs: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hvd_nowcast", "watch", str(run)]
    command += ["--input", str(inputs), "--out", str(out)]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(), stdout=subprocess.PIPE, text=True
    )


def test_frames_become_forecasts_within_seconds_and_signals_end_it(
    tmp_path: Path, program: Program
) -> None:
    run, inputs, out = tmp_path / "run", tmp_path / "in", tmp_path / "out"
    flags = [word for setting in SETTINGS for word in ("--set", setting)]
    program("train", "configs/tiny.yaml", "--run", run, *flags)
    inputs.mkdir()
    for number in range(4):
        send(inputs, number)
    with start(run, inputs, out) as process:
        wait_for_forecast(out, "2020-01-01T00:15:00", LONGEST_START_SECONDS)
        send(inputs, 4)
        health = wait_for_forecast(out, "2020-01-01T00:20:00", LONGEST_FORECAST_SECONDS)
        assert (health["state"], health["process"]) == ("ok", process.pid)
        process.send_signal(signal.SIGUSR1)
        printed, _ = process.communicate(timeout=30)
    # A batch job of a rolling nowcast is run again on this status.
    assert process.returncode == 85
    assert printed.count("15 minutes after") == 2
    send(inputs, 5)
    with start(run, inputs, out) as process:
        wait_for_forecast(out, "2020-01-01T00:25:00", LONGEST_START_SECONDS)
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert printed.count("15 minutes after") == 1
    assert len(list(out.glob("forecast_*.nc"))) == 3
    assert not list(out.glob(".*"))
