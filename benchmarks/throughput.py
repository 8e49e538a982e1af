"""Does reading slow training? ``python benchmarks/throughput.py [--quick]``.

The demo's training on real radar (``data/dwd``, made by launch/demo.sh) on its two ranks of a
thread each, steps in blocks from the loader and from batches that lie in memory, in turns: some in
the first epoch, when frames are decompressed, most in later ones, and weighed as the demo has them.
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
from dataclasses import replace
from pathlib import Path

from contenders import FULL_CORES, ONE_THREAD, mpirun
from figures import Figure, publish, ratio_figure
from machine import matrix_rate, network_operations

CONFIG = Path(__file__).parents[1] / "configs/demo.yaml"
BLOCK_STEPS = 20
# Forward, and backward for weights and for inputs.
PASSES = 3
REASON = "the reader's thread takes processor time of the rank that trains"


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
    from hvd_nowcast.training.run_folder import RunFolder
    from hvd_nowcast.training.step import TrainingStep, build_optimiser

    communicator = connect(os.environ)
    config = load_config(CONFIG, [f"data.shards={options.shards}"])
    set_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        task = open_nowcast(config, RunFolder(Path(scratch)))
    optimiser = build_optimiser(config.optimiser, task.model)
    step = TrainingStep(task, optimiser, communicator, config.optimiser.clip_norm)
    batch, rounds = config.training.global_batch, 4 if options.quick else 12
    shares = equal_shares(batch, communicator.size)
    part = rank_slice(shares, communicator.rank)
    loaded = task.training_batches(part, range(100_000))
    held = list(task.training_batches(part, range(BLOCK_STEPS)))

    def seconds(batches) -> float:  # noqa: ANN001 - an iterator of tensors
        started = time.perf_counter()
        for codes in itertools.islice(batches, BLOCK_STEPS):
            bool(step.train(codes, 1e-4).finite)
        return (time.perf_counter() - started) / BLOCK_STEPS

    def turns(count: int) -> dict[str, list[float]]:
        found = [(seconds(held), seconds(loaded)) for _ in range(count)]
        return dict(zip(("memory", "loader"), map(list, zip(*found, strict=True)), strict=True))

    turns(1)  # Warms up.
    first = turns(rounds // 3)
    epoch = task.windows // batch
    # Without training to the end of the epoch: from then on all frames lie in the scratch file.
    for _ in itertools.islice(loaded, max(0, epoch - (1 + rounds // 3) * BLOCK_STEPS)):
        pass
    later = turns(rounds)
    task.close()
    if communicator.rank:
        return
    for when, times in (("in the first epoch", first), ("in later epochs", later)):
        middle = {name: 1e3 * statistics.median(taken) for name, taken in times.items()}
        print(
            f"{when:<20}" + "".join(f"{name:>9}{ms:7.1f} ms a step" for name, ms in middle.items())
        )
    # The whole training is as much of both as it has steps of them.
    share = min(1.0, epoch / config.training.steps)
    slower = share * statistics.median(first["loader"]) / statistics.median(first["memory"])
    whole = [
        memory * slower + (1 - share) * loader
        for memory, loader in zip(later["memory"], later["loader"], strict=True)
    ]
    crop = config.data.crop
    operations = PASSES * shares[0] * network_operations(task.model, crop, crop)
    rate = matrix_rate()
    of_rate = [operations / rate / taken for taken in later["memory"]]
    print(f"{operations / 1e9:.1f} GFLOP a step, {rate / 1e9:.0f} GFLOP/s in a matrix product")
    title = "demo training, speed from shards over from memory"
    publish(
        "throughput",
        [
            replace(ratio_figure(title, later["memory"], whole, 0.95, ceiling=1.0), reason=REASON),
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
