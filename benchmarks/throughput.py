"""Does reading slow training? ``python benchmarks/throughput.py [--quick]``.

The demo's training on real radar (``data/dwd``, made by launch/demo.sh), steps in blocks from the
loader and from batches that lie in memory, in turns in one process. Wanted: 0.95 of the speed from
memory, which is the ceiling. The share of the rate of a large matrix product says what the step
itself leaves.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

from figures import Figure, publish, ratio_figure
from machine import matrix_rate, network_operations

CONFIG = Path(__file__).parents[1] / "configs/demo.yaml"
BLOCK_STEPS = 20
# Forward, and backward for weights and for inputs.
PASSES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", default="data/dwd", help="real radar; made by launch/demo.sh")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args()
    from hvd_nowcast.config import load_config
    from hvd_nowcast.parallel.communicator import SingleProcess
    from hvd_nowcast.training.bench import set_seed
    from hvd_nowcast.training.nowcast import open_nowcast
    from hvd_nowcast.training.run_folder import RunFolder
    from hvd_nowcast.training.step import TrainingStep, build_optimiser

    config = load_config(CONFIG, [f"data.shards={options.shards}"])
    set_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        task = open_nowcast(config, RunFolder(Path(scratch)))
    optimiser = build_optimiser(config.optimiser, task.model)
    step = TrainingStep(task, optimiser, SingleProcess(), config.optimiser.clip_norm)
    batch, rounds = config.training.global_batch, 4 if options.quick else 12
    loaded = task.training_batches(slice(0, batch), range(100_000))
    held = list(itertools.islice(task.training_batches(slice(0, batch), range(BLOCK_STEPS)), None))

    def seconds(batches) -> float:  # noqa: ANN001 - an iterator of tensors
        started = time.perf_counter()
        for codes in itertools.islice(batches, BLOCK_STEPS):
            bool(step.train(codes, 1e-4).finite)
        return (time.perf_counter() - started) / BLOCK_STEPS

    times: dict[str, list[float]] = {"memory": [], "loader": []}
    for number in range(rounds + 1):
        found = {"memory": seconds(held), "loader": seconds(loaded)}
        for name, taken in found.items() if number else ():  # The first round warms up.
            times[name].append(taken)
    task.close()
    for name, taken in times.items():
        print(f"batches from {name:<8}{1e3 * statistics.median(taken):7.1f} ms a step")
    crop = config.data.crop
    operations = PASSES * batch * network_operations(task.model, crop, crop)
    rate = matrix_rate()
    shares = [operations / rate / taken for taken in times["memory"]]
    print(f"{operations / 1e9:.1f} GFLOP a step, {rate / 1e9:.0f} GFLOP/s in a matrix product")
    title = "demo training, speed from shards over from memory"
    publish(
        "throughput",
        [
            ratio_figure(title, times["memory"], times["loader"], 0.95, ceiling=1.0),
            Figure(
                "training step, share of the rate of a matrix product",
                statistics.median(shares),
                min(shares),
                max(shares),
                ceiling=1.0,
            ),
        ],
    )


if __name__ == "__main__":
    main()
