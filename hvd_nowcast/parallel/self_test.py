"""What MPI and Horovod look like from inside a rank: ``python -m hvd_nowcast.parallel.self_test``.

A process of its own, because a wrong MPI may well end the process that starts it. Every rank prints
one line of JSON.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

from hvd_nowcast import console
from hvd_nowcast.parallel.startup import loaded_mpi_libraries


def describe_this_rank() -> dict[str, object]:
    """Facts of this rank.

    Returns
    -------
    dict
        ``host``, ``rank``, ``size``, ``library`` (name and version of the MPI), ``libraries``
        (files of all MPIs in this process), ``threads`` (whether Horovod may use MPI in a thread)
        and ``horovod`` (empty, or why it cannot be used).
    """
    from mpi4py import MPI

    threads, problem = False, ""
    try:
        import horovod.tensorflow as horovod

        horovod.init(comm=MPI.COMM_WORLD)
        threads = bool(horovod.mpi_threads_supported())
    except (ImportError, OSError, RuntimeError, ValueError) as failure:
        problem = str(failure).splitlines()[0]
    return {
        "host": socket.gethostname(),
        "rank": MPI.COMM_WORLD.Get_rank(),
        "size": MPI.COMM_WORLD.Get_size(),
        "library": MPI.Get_library_version().splitlines()[0].split(",")[0],
        "libraries": loaded_mpi_libraries(Path("/proc/self/maps")),
        "threads": threads,
        "horovod": problem,
    }


if __name__ == "__main__":
    console.say(json.dumps(describe_this_rank()))
