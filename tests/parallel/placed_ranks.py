"""Where ranks run after they have met: ``placed_ranks.py CORES FOLDER``."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path

import tensorflow as tf

from hvd_nowcast.parallel.startup import connect


def main() -> None:
    cores, folder = sys.argv[1:]
    # As a batch system that gives a job a part of the machine.
    os.sched_setaffinity(0, json.loads(cores))
    # Threads of MPI itself and of libraries, which sleep.
    import_module("mpi4py.MPI")
    before = threads()
    communicator = connect(os.environ)
    tf.random.normal((99, 99)) @ tf.random.normal((99, 99))
    started = threads() - before
    places = {tuple(sorted(os.sched_getaffinity(thread))) for thread in {*started, os.getpid()}}
    Path(folder, f"{communicator.rank}.json").write_text(json.dumps([sorted(places), len(started)]))


def threads() -> set[int]:
    return {int(one.name) for one in Path("/proc/self/task").iterdir()}


if __name__ == "__main__":
    main()
