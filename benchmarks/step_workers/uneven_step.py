"""Our step with any shares of a global batch, for ``benchmarks/heterogeneous.py``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from pathlib import Path

import tensorflow as tf
from common import pin, random_codes, serve, timed
from ours import our_step

from hvd_nowcast.parallel.probe import probe_ranks
from hvd_nowcast.parallel.startup import connect

GLOBAL_BATCH = 16


def main() -> None:
    folder = Path(sys.argv[1])
    pin(int(os.environ["OMPI_COMM_WORLD_LOCAL_RANK"]))
    communicator = connect(os.environ)
    codes = tf.constant(random_codes(0, GLOBAL_BATCH))
    step = our_step(communicator, GLOBAL_BATCH)

    def compute(samples: int) -> None:
        step.compute(codes[:samples])

    def one_after_the_other(samples: int) -> Generator[float, None, None]:
        while True:
            yield from timed(lambda: compute(samples), 1)

    def run(variant: str, count: int) -> list[float]:
        if variant.startswith("try-"):
            return timed(lambda: compute(int(variant.removeprefix("try-"))), count)
        if variant == "probe":
            found = probe_ranks(communicator, "CPU", one_after_the_other, GLOBAL_BATCH)
            return [value for rank in found for value in (rank.fixed, rank.per_sample, rank.spread)]
        shares = json.loads(variant)
        start = sum(shares[: communicator.rank])
        mine = codes[start : start + shares[communicator.rank]]
        return timed(lambda: step.train(mine, 1e-3).stop.numpy(), count)

    serve(folder, "uneven", communicator.rank, run)
    communicator.close()


main()
