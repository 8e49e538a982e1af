"""The program with each rank on a core of its own: ``pinned_training.py ARGUMENT...``."""

from __future__ import annotations

import os
import sys

from hvd_nowcast import cli
from hvd_nowcast.parallel.launcher import find_launch

cores = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cores[find_launch(os.environ).rank % len(cores)]})
cli.main(sys.argv[1:])
