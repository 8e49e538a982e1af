"""Train the same small runs on any number of ranks and keep weights and samples of each.

``equal_training.py SHARDS OUT CASE...`` with a case as PRECISION-OPTIMISER-BATCH, or with shares
as PRECISION-OPTIMISER-BATCH-12.4.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hvd_nowcast.config import NowcastConfig, config_from_dict
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.parallel.startup import connect
from hvd_nowcast.training.loop import TrainingRun
from hvd_nowcast.training.run_folder import RunFolder


def make_config(
    shards: str, precision: str, optimiser: str, batch: int, shares: list[int] | None
) -> NowcastConfig:
    tree: dict[str, Any] = {
        "data": {"shards": shards, "frames_in": 3, "frames_out": 2, "crop": 16, "wet_bias": 4},
        "model": {"filters": [8], "centre": 8, "residual": False, "precision": precision},
        "loss": {"error": "mse", "rain_weight": 1.0},
        "optimiser": {"name": optimiser, "learning_rate": 0.02, "reference_batch": batch},
        "training": {"steps": 50, "global_batch": batch, "validation_samples": 5},
    }
    tree["training"] |= {"validate_every": 25, "checkpoint_every": 50}
    if shares:
        tree["balance"] = {"mode": "manual", "shares": shares}
    return config_from_dict(tree, "test")


class Recorder:
    """Writes a digest of every sample of every global batch, in order."""

    def __init__(self, communicator: Communicator, file: Path) -> None:
        self._communicator = communicator
        self._file = file

    def watch(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            digests = [hashlib.sha256(codes.tobytes()).hexdigest() for codes in batch.codes.numpy()]
            together = [d for part in self._communicator.gather(digests) for d in part]
            if self._communicator.rank == 0:
                with self._file.open("a") as file:
                    file.write(json.dumps(together) + "\n")
            yield batch


def train(communicator: Communicator, config: NowcastConfig, folder: Path) -> None:
    run = RunFolder(folder, writable=communicator.rank == 0)
    if run.writable:
        run.start(config)
    communicator.barrier()
    training = TrainingRun(config, run, communicator)
    recorder = Recorder(communicator, folder / "samples.jsonl")
    read = training._task.training_batches
    training._task.training_batches = lambda *a: recorder.watch(read(*a))  # type: ignore
    training.run()
    if run.writable:
        arrays = {v.path: v.numpy() for v in training._model.variables}
        np.savez(folder / "weights.npz", **arrays)


def main() -> None:
    shards, out, *cases = sys.argv[1:]
    communicator = connect(os.environ)
    for case in cases:
        precision, optimiser, batch, *rest = case.split("-")
        shares = [int(share) for share in rest[0].split(".")] if rest else None
        config = make_config(shards, precision, optimiser, int(batch), shares)
        train(communicator, config, Path(out, case))
    communicator.close()


main()
