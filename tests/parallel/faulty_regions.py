"""Many models on ranks of which one dies: ``faulty_regions.py RANK MODEL ARGUMENTS...``.

The rank kills itself in the middle of its n-th model; none does with a negative number.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from hvd_nowcast.cli import main
from hvd_nowcast.regions import work
from hvd_nowcast.training.loop import TrainingRun

RANK, MODEL = int(sys.argv[1]), int(sys.argv[2])
begun = 0
whole = TrainingRun._log


def count_models(*arguments: Any) -> Any:
    global begun
    begun += 1
    return train(*arguments)


def die_on_the_way(*arguments: Any) -> None:
    if begun == MODEL and os.environ.get("OMPI_COMM_WORLD_RANK") == str(RANK):
        os.kill(os.getpid(), signal.SIGKILL)
    whole(*arguments)


train = work._train
work._train = count_models
TrainingRun._log = die_on_the_way  # type: ignore[method-assign]
main(sys.argv[3:])
