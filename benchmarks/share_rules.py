"""Does it matter how gradients of uneven shares are added? ``python benchmarks/share_rules.py``.

Trains the same small network on real radar (``data/dwd``, made by launch/demo.sh) in one process
that takes the parts of two ranks in turn, with a batch divided 8-8 and 15-1, under two rules:

- sums: gradients of sums over valid pixels, divided by the valid pixels of all ranks (ours);
- means: the plain average of each rank's mean, the unweighted rule of 2020, which counts a sample
  of the slow rank fifteen times as much as one of the fast rank.

The same seeds and batches everywhere. The ratio is the validation loss of 15-1 under means over
that under sums. Under sums the division changes nothing, which is the ceiling: a ratio of 1.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

import tensorflow as tf
from figures import publish, ratio, ratio_figure

from hvd_nowcast.config import NowcastConfig, config_from_dict
from hvd_nowcast.parallel.communicator import SingleProcess
from hvd_nowcast.training.bench import set_seed
from hvd_nowcast.training.nowcast import open_nowcast
from hvd_nowcast.training.optimiser import build_optimiser
from hvd_nowcast.training.run_folder import RunFolder
from hvd_nowcast.training.schedule import learning_rate
from hvd_nowcast.training.step import TrainingStep

BATCH = 16
CASES = [("sums", 8), ("sums", 15), ("means", 8), ("means", 15)]


def make_config(shards: str, steps: int, seed: int) -> NowcastConfig:
    tree = {
        "data": {"shards": shards, "crop": 64, "wet_bias": 9},
        "model": {"filters": [16, 32], "centre": 32, "stem": 2},
        "loss": {"rain_weight": 0.5},
        "optimiser": {"learning_rate": 1e-3, "reference_batch": BATCH},
        "training": {"steps": steps, "global_batch": BATCH, "seed": seed},
    }
    return config_from_dict(tree, "benchmark")


def add_parts(rule: str, parts: list[list[tf.Tensor]]) -> list[tf.Tensor]:
    """Gradients, loss sum and valid pixels of all ranks under a rule."""
    if rule == "means":
        # Each rank's mean; the number of ranks takes the place of the valid pixels.
        parts = [[*(value / part[-1] for value in part[:-1]), tf.ones(())] for part in parts]
    return [tf.add_n(values) for values in zip(*parts, strict=True)]


def train(config: NowcastConfig, folder: Path, rule: str, first: int) -> float:
    """Validation loss after training with the first rank taking so many samples."""
    set_seed(config.training.seed)
    task = open_nowcast(config, RunFolder(folder))
    optimiser = build_optimiser(config.optimiser, task.model)
    step = TrainingStep(task, optimiser, SingleProcess(), clip_norm=1.0)
    steps, halves = range(config.training.steps), (slice(0, first), slice(first, BATCH))
    for number, batch in enumerate(task.training_batches(slice(0, BATCH), steps)):
        parts = [step.compute(batch._make(x[half] for x in batch)) for half in halves]
        rate = learning_rate(config.optimiser, number, len(steps), BATCH)
        step.update(add_parts(rule, parts), rate)
    sums = sum(step.evaluate(batch).numpy() for batch in task.validation_batches(0, 1))
    task.close()
    return float(sums[0] / sums[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", default="data/dwd", help="real radar; made by launch/demo.sh")
    parser.add_argument("--quick", action="store_true", help="fewer steps and seeds")
    options = parser.parse_args()
    steps, seeds = (100, 2) if options.quick else (500, 4)
    losses: dict[tuple[str, int], list[float]] = {case: [] for case in CASES}
    for seed in range(seeds):
        config = make_config(options.shards, steps, seed)
        with TemporaryDirectory() as scratch:
            for rule, first in CASES:
                losses[rule, first].append(train(config, Path(scratch), rule, first))
    report(losses)


def report(losses: dict[tuple[str, int], list[float]]) -> None:
    print(f"{'rule':<8}{'shares':<9}validation loss: mean, least and largest of the seeds")
    for (rule, first), values in losses.items():
        shares = f"{first}-{BATCH - first}"
        spread = f"{min(values):.4f} to {max(values):.4f}"
        print(f"{rule:<8}{shares:<9}{statistics.mean(values):.4f}, {spread}")
    same = ratio(losses["sums", 15], losses["sums", 8])[0]
    title = "validation loss with plain averages of gradients at shares 15-1 over ours"
    publish(
        "share_rules",
        [ratio_figure(title, losses["means", 15], losses["sums", 15], ceiling=same)],
    )


if __name__ == "__main__":
    main()
