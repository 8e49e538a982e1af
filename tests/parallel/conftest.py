"""Starting real ranks with mpirun."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def need_mpi() -> None:
    """Skip where there is no MPI or no Horovod, and say so."""
    # Only looked for: Horovod must not be started in the process of the tests.
    from importlib.util import find_spec

    if shutil.which("mpirun") is None:
        pytest.skip("no mpirun on the PATH: launch/setup.sh brings one")
    for package in ("mpi4py", "horovod"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: launch/setup.sh builds it")


def ranks_environment() -> dict[str, str]:
    """One thread per rank, and no trace of a launcher around the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMIX_", "PRTE_"))}
    one = dict.fromkeys(
        ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"
    )
    return {**kept, **one, "OMPI_MCA_mpi_yield_when_idle": "1", "HVD_NOWCAST_RANKS": "4"}


def start_ranks(count: int, script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a script of this folder on some ranks, without mpirun for one."""
    command: list[str] = []
    if count > 1:
        command = ["mpirun", "-n", str(count), "--oversubscribe", "--bind-to", "none"]
        command += ["--allow-run-as-root"] if os.getuid() == 0 else []
    command += [sys.executable, str(HERE / "rank.py"), str(HERE / script), *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=ranks_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_ranks(count: int, script: str, *arguments: object, timeout: float = 300) -> str:
    """Run a script of this folder on some ranks; its output, after it ended well."""
    process = start_ranks(count, script, *arguments)
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, output
    return output


def error_lines(output: str) -> Sequence[str]:
    """Lines that tell the user of an error; mpirun may indent what it passes on."""
    return [line.strip() for line in output.splitlines() if line.lstrip().startswith("error:")]
