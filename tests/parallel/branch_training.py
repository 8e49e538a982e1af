"""Train a small flood model with its heads spread: ``branch_training.py SHARDS OUT CASE...``.

A case is PRECISION-OPTIMISER-BATCH-WIDTH, with the ranks of a replica as WIDTH.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hvd_nowcast.config import config_from_dict
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.parallel.startup import connect
from hvd_nowcast.training.loop import TrainingRun
from hvd_nowcast.training.run_folder import RunFolder

HEADS = 4


def make_tree(
    shards: str, precision: str, optimiser: str, batch: int, width: int
) -> dict[str, Any]:
    return {
        "task": "flood",
        # Not linear, or least squares would leave gradients of rounding errors alone.
        "data": {
            "shards": shards,
            "frames_in": 8,
            "frames_out": 2,
            "transform": "square-root",
        },
        "model": {"heads": HEADS, "filters": [3, 2], "units": 5, "precision": precision},
        "optimiser": {
            "name": optimiser,
            "learning_rate": 0.02,
            "reference_batch": batch,
            "warmup_steps": 5,
            "clip_norm": 0.5,
            "averaging": 0.5,
        },
        "training": {
            "steps": 30,
            "global_batch": batch,
            "validate_every": 10,
            "checkpoint_every": 10,
        },
        "branches": {"ranks_per_replica": width},
    }


def train(communicator: Communicator, tree: dict[str, Any], folder: Path) -> None:
    config = config_from_dict(tree, "test")
    run = RunFolder(folder, writable=communicator.rank == 0)
    if run.writable and not run.has("config.yaml"):
        run.start(config)
    communicator.barrier()
    training = TrainingRun(config, run, communicator)
    if training._progress.step == 0:
        # Weights of one size: a bias that is still nearly zero has no relative difference.
        generator = np.random.default_rng(0)
        for variable in training._model.trainable_variables:
            variable.assign(generator.normal(scale=0.3, size=variable.shape))
    training.run()
    if run.writable:
        np.savez(folder / "weights.npz", **{v.path: v.numpy() for v in training._model.weights})
        branches = training._task.branches
        owners = branches.owners if branches else [0] * HEADS
        (folder / "owners.txt").write_text(" ".join(map(str, owners)))


def main() -> None:
    shards, out, *cases = sys.argv[1:]
    communicator = connect(os.environ)
    for case in cases:
        precision, optimiser, batch, width = case.split("-")
        tree = make_tree(shards, precision, optimiser, int(batch), int(width))
        train(communicator, tree, Path(out, case))
    communicator.close()


main()
