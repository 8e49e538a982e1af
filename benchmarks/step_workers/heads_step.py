"""A flood network on one rank and with its heads on two, for ``benchmarks/heads.py``.

``heads_step.py FOLDER [make]``: the second form writes the made-up watershed.
"""

from __future__ import annotations

import os
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import pin, serve, timed

from hvd_nowcast.config import FloodConfig, config_from_dict
from hvd_nowcast.hydrology.contribution import Units
from hvd_nowcast.hydrology.network import FlowNetwork
from hvd_nowcast.hydrology.watershed import Watershed
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.shards.synthetic import synthetic_source
from hvd_nowcast.shards.watershed import WATERSHED, write_watershed

SIDE, FRAMES, BATCH = 48, 200, 8
FRAMES_IN, FRAMES_OUT = 20, 4


def make(folder: Path) -> None:
    """Rain on a square valley: rows run to the middle column, that one runs south."""
    source = synthetic_source(FRAMES, (SIDE, SIDE), 0)
    row, column = np.divmod(np.arange(SIDE * SIDE), SIDE)
    towards = row * SIDE + column + np.sign(SIDE // 2 - column)
    south = np.minimum(row + 1, SIDE - 1) * SIDE + column
    ones = np.ones(SIDE * SIDE)
    network = FlowNetwork(
        np.where(column == SIDE // 2, south, towards), 300.0 * ones, 0.01 * ones, ones
    )
    flow = np.random.default_rng(0).gamma(2.0, 10.0, (FRAMES, 1)).astype(np.float32)
    watershed = Watershed(
        network,
        Units(np.arange(SIDE * SIDE), row, column, ones),
        ("outlet",),
        np.array([(SIDE - 1) * SIDE + SIDE // 2]),
        source.times,
        flow,
        np.zeros((FRAMES, 0), np.float32),
        np.zeros(0, np.int64),
        np.zeros(0, np.float32),
    )
    companions = {WATERSHED: lambda path: write_watershed(path, watershed)}
    split = parse_split("train=0.7,validation=0.3")
    build_shards(replace(source, companions=companions), folder / "shards", split)


def make_config(folder: Path, width: int) -> FloodConfig:
    tree = {
        "task": "flood",
        "data": {"shards": f"{folder}/shards", "frames_in": FRAMES_IN, "frames_out": FRAMES_OUT},
        "model": {"heads": 6, "filters": [8, 8], "units": 32},
        "training": {"global_batch": BATCH},
        "branches": {"ranks_per_replica": width},
    }
    config = config_from_dict(tree, "benchmark")
    assert isinstance(config, FloodConfig)
    return config


def main() -> None:
    folder = Path(sys.argv[1])
    if sys.argv[2:] == ["make"]:
        make(folder)
        return
    pin(int(os.environ["OMPI_COMM_WORLD_LOCAL_RANK"]))
    import tensorflow as tf

    from hvd_nowcast.parallel.communicator import Communicator, SingleProcess
    from hvd_nowcast.parallel.startup import connect
    from hvd_nowcast.parallel.traffic import Placement, sent_per_step
    from hvd_nowcast.training.bench import set_seed
    from hvd_nowcast.training.flood import FloodTask
    from hvd_nowcast.training.optimiser import build_optimiser
    from hvd_nowcast.training.run_folder import RunFolder
    from hvd_nowcast.training.step import TrainingStep

    ranks = connect(os.environ)

    def prepare(communicator: Communicator, width: int) -> tuple[FloodTask, TrainingStep]:
        config = make_config(folder, width)
        set_seed(0)
        task = FloodTask(config, RunFolder(folder / "run", writable=False))
        task.place(communicator)
        optimiser = build_optimiser(config.optimiser, task.model)
        return task, TrainingStep(task, optimiser, communicator, config.optimiser.clip_norm)

    tasks = {"alone": prepare(SingleProcess(), 1), "spread": prepare(ranks, 0)}
    # Read once: what is measured is the network.
    (batch,) = tasks["alone"][0].training_batches(slice(0, BATCH), range(1))

    def head_seconds() -> list[float]:
        """Forward and backward of each head for the whole batch."""
        task, found = tasks["alone"][0], []
        rain = task.decoded(batch)["rain"]
        for head in task.network.heads:

            @tf.function(jit_compile=False)
            def take(head=head):
                with tf.GradientTape() as tape:
                    total = tf.reduce_sum(head([rain, batch["gauge"]]))
                return tape.gradient(total, head.trainable_variables)[-1]

            take().numpy()
            found.append(statistics.median(timed(lambda take=take: take().numpy(), 7)))
        return found

    def parts() -> list[float]:
        branches = tasks["spread"][0].branches
        assert branches is not None
        seconds = head_seconds()
        owned = [sum(seconds[b] for b in branches.branches_of(place)) for place in (0, 1)]
        whole = statistics.median(timed(lambda: tasks["alone"][1].train(batch, 1e-3), 7))
        placement = Placement("branch", 2)
        sent = max(sent_per_step(tasks["spread"][0].sizes, 2, placement, branches.owners, BATCH))
        return [max(owned), sum(seconds), max(0.0, whole - sum(seconds)), sent]

    def run(variant: str, count: int) -> list[float] | None:
        if variant == "parts":
            return parts() if ranks.rank == 0 else [0.0] * 4
        if variant == "alone" and ranks.rank:
            return None
        step = tasks[variant][1]
        return timed(lambda: bool(step.train(batch, 1e-3).finite), count)

    serve(folder, "heads", ranks.rank, run)
    ranks.close()


main()
