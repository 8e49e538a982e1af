"""Does reading slow training? ``python benchmarks/throughput.py [--quick]``.

The demo's training on real radar (``data/dwd``, made by launch/demo.sh) on its two ranks of a
thread each, a step from the loader and one from batches that lie in memory, in turns: what else
runs on the machine changes from second to second. Blocks of such steps are spread evenly over the
whole training; what lies between is read and not trained on. (In its first epochs a rank meets
frames that it has yet to decompress, later none.) A rank of one thread reads between its steps,
four batches every fourth time, so blocks of ten steps hold three and two such reads in turns.
Wanted: 0.95 of the speed from memory, which is the ceiling. The share of the rate of a large matrix
product says what the step itself leaves.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contenders import FULL_CORES, ONE_THREAD, mpirun
from figures import Figure, publish
from machine import matrix_rate, network_operations

CONFIG = Path(__file__).parents[1] / "configs/demo.yaml"
BLOCK_STEPS = 10
# Forward, and backward for weights and for inputs.
PASSES = 3
REASON = "a rank reads on the core that it trains on"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", default="data/dwd", help="real radar; made by launch/demo.sh")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args()
    if "OMPI_COMM_WORLD_SIZE" in os.environ:
        measure(options)
        return
    environment = {**os.environ, **ONE_THREAD, **FULL_CORES}
    program = [*mpirun(), sys.executable, __file__, *sys.argv[1:]]
    sys.exit(subprocess.run(program, env=environment, check=False).returncode)


def measure(options: argparse.Namespace) -> None:
    """What a rank does; the first one tells."""
    from hvd_nowcast.config import load_config
    from hvd_nowcast.loader.assignment import equal_shares, rank_slice
    from hvd_nowcast.parallel.startup import connect
    from hvd_nowcast.training.bench import set_seed
    from hvd_nowcast.training.nowcast import open_nowcast
    from hvd_nowcast.training.optimiser import build_optimiser
    from hvd_nowcast.training.run_folder import RunFolder
    from hvd_nowcast.training.step import TrainingStep

    communicator = connect(os.environ)
    config = load_config(CONFIG, [f"data.shards={options.shards}"])
    set_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        task = open_nowcast(config, RunFolder(Path(scratch)))
    optimiser = build_optimiser(config.optimiser, task.model)
    step = TrainingStep(task, optimiser, communicator, config.optimiser.clip_norm)
    batch, rounds = config.training.global_batch, 10 if options.quick else 50
    shares = equal_shares(batch, communicator.size)
    part = rank_slice(shares, communicator.rank)
    loaded = task.training_batches(part, range(config.training.steps))
    held = itertools.cycle(list(task.training_batches(part, range(BLOCK_STEPS))))

    def seconds(batches) -> float:  # noqa: ANN001 - an iterator of tensors
        # Else a step would wait for a rank that is still reading what is left out.
        communicator.barrier()
        started = time.perf_counter()
        bool(step.train(next(batches), 1e-4).finite)
        return time.perf_counter() - started

    for _ in range(BLOCK_STEPS):  # Warms up.
        seconds(held)
    memory, loader = [], []
    for _ in range(rounds):
        block = {"memory": 0.0, "loader": 0.0}
        for number in range(BLOCK_STEPS):
            # There and back, for the machine may become slower.
            turns = [("memory", held), ("loader", loaded)]
            for name, batches in turns[:: -1 if number % 2 else 1]:
                block[name] += seconds(batches) / BLOCK_STEPS
        memory.append(block["memory"])
        loader.append(block["loader"])
        for _ in itertools.islice(loaded, config.training.steps // rounds - BLOCK_STEPS):
            pass
    task.close()
    if communicator.rank:
        return
    print("milliseconds a step from memory, from shards, and speed over that from memory")
    for number, (held_seconds, loaded_seconds) in enumerate(zip(memory, loader, strict=True)):
        print(
            f"from step {number * (config.training.steps // rounds):<6}"
            f"{1e3 * held_seconds:8.1f}{1e3 * loaded_seconds:8.1f}"
            f"{held_seconds / loaded_seconds:8.3f}"
        )
    ratios = [a / b for a, b in zip(memory, loader, strict=True)]
    crop = config.data.crop
    operations = PASSES * shares[0] * network_operations(task.model, crop, crop)
    rate = matrix_rate()
    of_rate = [operations / rate / taken for taken in memory]
    print(f"{operations / 1e9:.1f} GFLOP a step, {rate / 1e9:.0f} GFLOP/s in a matrix product")
    title = "demo training, speed from shards over from memory"
    # All blocks stand for as many steps, so the sums are compared: a median would leave out the
    # first epochs, and the mean of quotients would turn noise into a loss.
    publish(
        "throughput",
        [
            Figure(
                title,
                sum(memory) / sum(loader),
                min(ratios),
                max(ratios),
                at_least=0.95,
                ceiling=1.0,
                reason=REASON,
            ),
            Figure(
                "training step, share of the rate of a matrix product",
                statistics.median(of_rate),
                min(of_rate),
                max(of_rate),
                ceiling=1.0,
            ),
        ],
    )


if __name__ == "__main__":
    main()
