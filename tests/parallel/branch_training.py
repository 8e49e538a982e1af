"""Train small models with their branches spread: ``branch_training.py SHARDS OUT CASE...``.

A case is TASK-PRECISION-OPTIMISER-BATCH-WIDTH, with the ranks of a replica as WIDTH, and with
``-head`` behind it where the last of them has no branch. SHARDS has a folder for each task.
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

PARTS: dict[str, dict[str, Any]] = {
    "flood": {
        # Not linear, or least squares would leave gradients of rounding errors alone.
        "data": {"frames_in": 8, "frames_out": 2, "transform": "square-root"},
        "model": {"heads": 4, "filters": [3, 2], "units": 5},
    },
    "landcover": {
        "data": {"patch": 3, "modality_dropout": 0.3},
        "model": {"filters": [4, 3], "features": 3, "head": 5},
    },
}


def make_tree(
    shards: Path, task: str, precision: str, optimiser: str, batch: int, width: int, *head: str
) -> dict[str, Any]:
    parts = PARTS[task]
    return {
        "task": task,
        "data": {"shards": str(shards / task), **parts["data"]},
        "model": {"precision": precision, **parts["model"]},
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
            "validation_samples": 40,
            "checkpoint_every": 10,
        },
        "branches": {"ranks_per_replica": width, "head_alone": bool(head)},
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
        owners = branches.owners if branches else [0]
        (folder / "owners.txt").write_text(" ".join(map(str, owners)))


def main() -> None:
    shards, out, *cases = sys.argv[1:]
    communicator = connect(os.environ)
    for case in cases:
        task, precision, optimiser, batch, width, *head = case.split("-")
        tree = make_tree(Path(shards), task, precision, optimiser, int(batch), int(width), *head)
        train(communicator, tree, Path(out, case))
    communicator.close()


main()
