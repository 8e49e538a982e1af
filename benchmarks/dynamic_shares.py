"""Do shares follow a load that comes and goes? ``python benchmarks/dynamic_shares.py``.

Two ranks of one thread, each on a core of its own, train with ``balance.mode: dynamic``. In the
middle of the run a process that burns time is put on the second rank's core, and taken away later.
One epoch after each change, the time of a step is compared with that of a run with static shares
that was probed in that very state: wanted within 10 %. The static runs come before and after, so
the spread of the machine is seen too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from contenders import FULL_CORES, ONE_THREAD, WORKERS, mpirun
from figures import Figure, publish
from heterogeneous import start_burners

GLOBAL_BATCH = 16
LOG_EVERY = 10
FRAMES = 1200
# 70 % of the frames are for training, a window has 18: an epoch in steps.
EPOCH_STEPS = (0.7 * FRAMES - 17) / GLOBAL_BATCH
LOADED_FROM, LOADED_TO, STEPS = 60, 160, 260
STATIC_STEPS = 60


def write_config(folder: Path) -> Path:
    tree = {
        "data": {"synthetic": {"frames": FRAMES, "height": 128, "width": 128}, "crop": 128},
        "model": {"filters": [16, 32, 64], "centre": 64},
        "training": {
            "steps": STEPS,
            "global_batch": GLOBAL_BATCH,
            "validate_every": 10_000,
            "validation_samples": 2,
            "checkpoint_every": 10_000,
        },
        "balance": {"every": LOG_EVERY},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def start(config: Path, run: Path, mode: str, steps: int) -> subprocess.Popen[bytes]:
    command = mpirun()
    command += [sys.executable, str(WORKERS / "pinned_program.py"), "train", str(config)]
    command += ["--run", str(run), "--set", f"balance.mode={mode}", "--set"]
    command += [f"training.steps={steps}"]
    return subprocess.Popen(command, env={**os.environ, **ONE_THREAD, **FULL_CORES})


def step_times(run: Path) -> dict[int, float]:
    """Mean seconds of a step in the ten steps up to each logged one."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    records = [json.loads(line) for line in lines]
    total = {
        r["step"]: r["step"] * GLOBAL_BATCH / r["samples_per_second"]
        for r in records
        if "loss" in r
    }
    return {s: (total[s] - total.get(s - LOG_EVERY, 0.0)) / LOG_EVERY for s in total}


def wait_for_step(run: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    while max(step_times(run), default=0) < step:
        if process.poll() is not None:
            raise SystemExit("the training ended too early")
        time.sleep(0.1)


def static_seconds(config: Path, run: Path, burners: int) -> float:
    """Median step time with shares probed under a load."""
    load = start_burners(burners)
    try:
        start(config, run, "static", STATIC_STEPS).wait()
    finally:
        for burner in load:
            burner.kill()
    times = step_times(run)
    return statistics.median(times[step] for step in times if step > LOG_EVERY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        config = write_config(folder)
        static = {1: [static_seconds(config, folder / "loaded", 1)]}
        static[0] = [static_seconds(config, folder / "free", 0)]
        run = folder / "dynamic"
        process = start(config, run, "dynamic", STEPS)
        wait_for_step(run, LOADED_FROM, process)
        load = start_burners(1)
        try:
            wait_for_step(run, LOADED_TO, process)
        finally:
            for burner in load:
                burner.kill()
        process.wait()
        static[0].append(static_seconds(config, folder / "free again", 0))
        static[1].append(static_seconds(config, folder / "loaded again", 1))
        times = step_times(run)
        history = json.loads((run / "final.json").read_text())["shares"]
    report(times, history, static)


def report(
    times: dict[int, float], history: list[dict[str, object]], static: dict[int, list[float]]
) -> None:
    for step, seconds in sorted(times.items()):
        state = "loaded" if LOADED_FROM < step <= LOADED_TO else "free"
        used = [entry["shares"] for entry in history if entry["step"] < step][-1]
        print(f"step {step:4d}  {state:<7} {1e3 * seconds:6.0f} ms  shares {used}")
    after = {
        1: [t for s, t in times.items() if LOADED_FROM + EPOCH_STEPS < s <= LOADED_TO],
        0: [t for s, t in times.items() if s > LOADED_TO + EPOCH_STEPS],
    }
    figures = []
    for burners, change in ((1, "put on a rank"), (0, "taken away")):
        ratios = [statistics.median(after[burners]) / seconds for seconds in static[burners]]
        title = f"load {change}: step time over that of a static plan"
        value = statistics.mean(ratios)
        figures.append(Figure(title, value, min(ratios), max(ratios), at_most=1.1, ceiling=1.0))
    publish("dynamic_shares", figures)


if __name__ == "__main__":
    main()
