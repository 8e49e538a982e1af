"""All-reduces of any size, and steps with any batch, for ``benchmarks/scaling.py``.

A variant is ``reduce-BYTES``, ``compute-SAMPLES`` without any exchange, or ``step-SAMPLES``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import tensorflow as tf
from common import LEARNING_RATE, pin, random_codes, serve, timed
from ours import our_step

from hvd_nowcast.parallel.communicator import SingleProcess
from hvd_nowcast.parallel.startup import connect

MOST_SAMPLES = 8


def main() -> None:
    folder = Path(sys.argv[1])
    pin(int(os.environ["OMPI_COMM_WORLD_LOCAL_RANK"]))
    ranks = connect(os.environ)
    codes = tf.constant(random_codes(0, MOST_SAMPLES))
    steps = {
        "compute": our_step(SingleProcess(), MOST_SAMPLES),
        "step": our_step(ranks, MOST_SAMPLES * ranks.size),
    }

    @cache
    def reduction(size: int) -> Callable[[], object]:
        numbers = tf.ones(size // 4)
        add = tf.function(
            lambda: ranks.sum_tensors([numbers], f"bytes_{size}")[0][0], jit_compile=False
        )
        return lambda: add().numpy()

    def run(variant: str, count: int) -> list[float]:
        kind, _, number = variant.partition("-")
        if kind == "bytes":
            return [4.0 * steps["step"]._task.model.count_params()]
        if kind == "reduce":
            return timed(reduction(int(number)), count)
        batch = codes[: int(number)]
        return timed(lambda: bool(steps[kind].train(batch, LEARNING_RATE).finite), count)

    serve(folder, "scaling", ranks.rank, run)
    ranks.close()


main()
