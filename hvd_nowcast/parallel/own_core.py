"""A core of its own for each rank, where ranks fill their machine.

Horovod's threads meet a thousand times a second, and wait for each other spinning. When the system
puts two ranks on one core for a while, the thread of one of them spins on the other core all that
time, for the one that it waits for gets no turn, and so the system sees no core that is free.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any


def own_core(local_rank: int, cores: Sequence[AbstractSet[int]]) -> int | None:
    """The core that a rank shall keep to, or None where it may go on as it was placed.

    Parameters
    ----------
    local_rank
        Number of the rank among those of its machine.
    cores
        On which each rank of the machine may run. Where they differ, launcher or batch system have
        placed the ranks; where there are more or fewer cores than ranks, the system has to.
    """
    mine = cores[local_rank]
    if any(others != mine for others in cores) or len(mine) != len(cores):
        return None
    return sorted(mine)[local_rank]


def keep_to_own_core(machine: Any) -> None:
    """Bind this thread, and all that it will start, to `own_core`.

    Parameters
    ----------
    machine
        mpi4py's communicator of the ranks of this machine; all of them call this.
    """
    core = own_core(machine.Get_rank(), machine.allgather(os.sched_getaffinity(0)))
    if core is not None:
        os.sched_setaffinity(0, {core})
