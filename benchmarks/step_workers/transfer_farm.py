"""The farm, a core per rank, for ``benchmarks/transfer.py``: ``transfer_farm.py CONFIG RUN``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hvd_nowcast.parallel.launcher import find_launch
from hvd_nowcast.regions.fit import train_regions

cores = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cores[find_launch(os.environ).local_rank % len(cores)]})
train_regions(Path(sys.argv[1]), Path(sys.argv[2]), compare=False, overrides=(), resume=False)
