from __future__ import annotations

import pytest

from hvd_nowcast.parallel.launcher import Launch, find_launch

OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}
SLURM = {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    ("environment", "launch"),
    [
        ({}, Launch("none")),
        (OPEN_MPI, Launch("mpirun (Open MPI)", 3, 4, 1)),
        ({**SLURM, **OPEN_MPI}, Launch("mpirun (Open MPI)", 3, 4, 1)),
        (SLURM, Launch("srun", 2, 8, 0)),
        ({"SLURM_PROCID": "0"}, Launch("none")),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, Launch("mpirun (MPICH or Intel MPI)", 1, 2, 1)),
        (
            {"HOROVOD_RANK": "0", "HOROVOD_SIZE": "2", "HOROVOD_LOCAL_RANK": "0"},
            Launch("horovodrun --gloo", 0, 2, 0),
        ),
    ],
)
def test_each_launcher_is_found_by_its_variables(
    environment: dict[str, str], launch: Launch
) -> None:
    assert find_launch(environment) == launch
