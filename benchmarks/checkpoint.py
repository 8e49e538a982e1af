"""What does a checkpoint every 30 seconds cost? ``python benchmarks/checkpoint.py [--quick]``.

Trains the published U-Net (16.5 million parameters, 190 MB with Adam's moments) on synthetic rain
and adds up the time in checkpoints: wanted at most 3.5 % of the run. The ceiling is a bare write
and fsync of as many bytes, after each checkpoint and not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from figures import Figure, publish

from hvd_nowcast.config import config_from_dict
from hvd_nowcast.parallel.communicator import SingleProcess
from hvd_nowcast.training.checkpoint import CheckpointFolder
from hvd_nowcast.training.loop import TrainingRun
from hvd_nowcast.training.run_folder import RunFolder

INTERVAL_SECONDS = 30.0
STEPS_PER_SECOND = 1.5


class Timed:
    """Measures every save, and a bare write of the same size after it."""

    def __init__(self, folder: Path) -> None:
        self.saves: list[float] = []
        self.writes: list[float] = []
        self._folder = folder
        self._save = CheckpointFolder.save

    def save(self, checkpoints: CheckpointFolder, *arguments: object) -> Path:
        started = time.perf_counter()
        path = self._save(checkpoints, *arguments)
        self.saves.append(time.perf_counter() - started)
        content = np.random.default_rng(0).bytes(path.stat().st_size)
        started = time.perf_counter()
        with (self._folder / "bare").open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self.writes.append(time.perf_counter() - started)
        return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two checkpoints instead of six")
    options = parser.parse_args()
    wanted = 2 if options.quick else 6
    tree = {
        "data": {
            "synthetic": {"frames": 200, "height": 64, "width": 64},
            "frames_in": 13,
            "frames_out": 12,
            "crop": 64,
        },
        "training": {
            "steps": int((wanted + 0.5) * INTERVAL_SECONDS * STEPS_PER_SECOND),
            "global_batch": 2,
            "validate_every": 100_000,
            "validation_samples": 1,
            "checkpoint_every": 100_000,
            "checkpoint_minutes": INTERVAL_SECONDS / 60,
        },
    }
    # In the working directory, because /tmp is often memory.
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        timed = Timed(Path(scratch))
        CheckpointFolder.save = lambda *arguments: timed.save(*arguments)
        run = RunFolder(Path(scratch, "run"))
        config = config_from_dict(tree, "benchmark")
        run.start(config)
        TrainingRun(config, run, SingleProcess()).run()
    report(timed)


def report(timed: Timed) -> None:
    shares = [seconds / (INTERVAL_SECONDS + seconds) for seconds in timed.saves]
    bare = [seconds / (INTERVAL_SECONDS + seconds) for seconds in timed.writes]
    share, ceiling = statistics.median(shares), statistics.median(bare)
    print(
        f"{len(shares)} checkpoints, {statistics.median(timed.saves):.2f} s each; a bare write and"
    )
    print(f"fsync of the same bytes takes {statistics.median(timed.writes):.2f} s")
    publish(
        "checkpoint",
        [
            Figure(
                "checkpoint of 190 MB every 30 s, share of the run",
                share,
                min(shares),
                max(shares),
                at_most=0.035,
                ceiling=ceiling,
            )
        ],
    )


if __name__ == "__main__":
    main()
