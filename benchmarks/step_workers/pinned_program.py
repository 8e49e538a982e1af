"""``hvd-nowcast`` with each rank on a core of its own."""

from __future__ import annotations

import os
import sys

from common import pin

from hvd_nowcast import cli

pin(int(os.environ["OMPI_COMM_WORLD_LOCAL_RANK"]))
cli.main(sys.argv[1:])
