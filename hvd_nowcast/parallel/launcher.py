"""Which launcher started this process, read from the environment alone."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass

# How people and batch systems stop a job, which then saves and leaves with status 85.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


@dataclass(frozen=True)
class Launch:
    """What the launcher announced.

    Attributes
    ----------
    launcher
        Its name, ``none`` for a process started by hand.
    rank, size, local_rank
        Number of this process, of all processes, and on this node.
    """

    launcher: str
    rank: int = 0
    size: int = 1
    local_rank: int = 0


# Name, then the variables of rank, size and local rank. The more special come first: mpirun and
# horovodrun inside a Slurm job see Slurm's variables too.
_LAUNCHERS = (
    ("horovodrun --gloo", "HOROVOD_RANK", "HOROVOD_SIZE", "HOROVOD_LOCAL_RANK"),
    (
        "mpirun (Open MPI)",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
    ),
    ("mpirun (MPICH or Intel MPI)", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
)


def find_launch(environment: Mapping[str, str]) -> Launch:
    """Read rank and size from the variables of the launchers we know.

    Parameters
    ----------
    environment
        Usually ``os.environ``.
    """
    for name, rank, size, local_rank in _LAUNCHERS:
        if rank in environment and size in environment:
            return Launch(
                name,
                int(environment[rank]),
                int(environment[size]),
                int(environment.get(local_rank, environment[rank])),
            )
    return Launch("none")
