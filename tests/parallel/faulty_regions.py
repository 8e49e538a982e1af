"""Many models on ranks of which one dies: ``faulty_regions.py RANK MODEL MEETINGS ARGUMENTS...``.

The rank kills itself in the middle of its n-th model; none does with a negative number. Models this
small are over before a rank that starts late has come: so all ranks begin their first model
together, and where one is to die each model, in the folder MEETINGS.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from hvd_nowcast.cli import main
from hvd_nowcast.regions import work
from hvd_nowcast.training.loop import TrainingRun

RANK, MODEL, MEETINGS = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
OWN_RANK = os.environ.get("OMPI_COMM_WORLD_RANK", "0")
RANKS = int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1"))
begun = 0
whole = TrainingRun._log


def count_models(*arguments: Any) -> Any:
    global begun
    begun += 1
    if begun == 1 or MODEL >= 0:
        meet(begun)
    return train(*arguments)


def meet(model: int) -> None:
    (MEETINGS / f"{model}.{OWN_RANK}").touch()
    while len(list(MEETINGS.glob(f"{model}.*"))) < RANKS:
        time.sleep(0.01)


def die_on_the_way(*arguments: Any) -> None:
    if begun == MODEL and str(RANK) == OWN_RANK:
        os.kill(os.getpid(), signal.SIGKILL)
    whole(*arguments)


train = work._train
work._train = count_models
TrainingRun._log = die_on_the_way  # type: ignore[method-assign]
main(sys.argv[4:])
