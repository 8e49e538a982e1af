"""What the contenders of ``benchmarks/step.py`` share: the network's sizes and how they are driven.

The driver lets one contender run at a time; the processes of the others are stopped by a signal.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FRAMES_IN, FRAMES_OUT = 6, 12
FILTERS, CENTRE = (16, 32, 64), 64
SIDE, BATCH = 128, 4
LEARNING_RATE = 1e-3
# Not often: one that cannot be stopped while another runs would take its time.
POLL_SECONDS = 0.05


def random_codes(rank: int, samples: int = BATCH) -> NDArray[np.uint16]:
    """Stored rain, shape (b, t, y, x), that every contender decodes as the first part of a step."""
    shape = (samples, FRAMES_IN + FRAMES_OUT, SIDE, SIDE)
    return np.random.default_rng(rank).integers(0, 500, shape).astype(np.uint16)


def pin(rank: int) -> None:
    """Keep this process, and all threads it will start, to one core."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})


def serve(
    folder: Path, name: str, rank: int, run: Callable[[str, int], list[float] | None]
) -> None:
    """Do what the driver asks for until it says stop.

    Parameters
    ----------
    folder
        Where questions and answers lie as files.
    name, rank
        Who this is.
    run
        From a variant and a number of steps to the seconds of each step, or None where this rank
        has no part in it.
    """
    (folder / f"{name}.{rank}.pid").write_text(str(os.getpid()))
    number = 0
    while True:
        question = folder / f"{name}.question.{number}"
        while not question.exists():
            time.sleep(POLL_SECONDS)
        variant, steps = json.loads(question.read_text())
        if variant == "stop":
            return
        seconds = run(variant, steps)
        aside = folder / f"{name}.{rank}.aside"
        aside.write_text(json.dumps(seconds))
        aside.rename(folder / f"{name}.{rank}.answer.{number}")
        number += 1


def timed(step: Callable[[], object], steps: int) -> list[float]:
    """Seconds of each of some steps."""
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return seconds
