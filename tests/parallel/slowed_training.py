"""The program with rank 1 running a quarter of the time: ``slowed_training.py ARGUMENT...``.

It is stopped and continued by signals: how much other load on a core slows a process depends on
the scheduler, the session and the container, and a test must not.
"""

from __future__ import annotations

import os
import subprocess
import sys

from hvd_nowcast import cli
from hvd_nowcast.parallel.launcher import find_launch

SLOW_RANK = 1
HINDER = """
import os, signal, sys, time
hindered = int(sys.argv[1])
try:
    while os.getppid() == hindered:
        os.kill(hindered, signal.SIGSTOP)
        time.sleep(0.03)
        os.kill(hindered, signal.SIGCONT)
        time.sleep(0.01)
except ProcessLookupError:
    pass
"""

if find_launch(os.environ).rank == SLOW_RANK:
    import tensorflow  # noqa: F401  (importing it need not be slow too)

    subprocess.Popen([sys.executable, "-c", HINDER, str(os.getpid())])
cli.main(sys.argv[1:])
