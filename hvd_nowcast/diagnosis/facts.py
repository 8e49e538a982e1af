"""Look at an environment: ask the commands that a job would use. Nothing is judged here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hvd_nowcast.parallel.launcher import find_launch

LONGEST_ANSWER_SECONDS = 120
RANKS = 2


@dataclass(frozen=True)
class Facts:
    """What was seen of an environment.

    Attributes
    ----------
    modules
        Loaded modules in their order.
    strangers
        Packages of ours that come from outside our environment: name and path.
    mpirun, mpirun_version
        The one on the PATH, and the first line of its ``--version``; empty without one.
    expected_ranks
        How many ranks should see each other.
    ranks
        What `hvd_nowcast.parallel.self_test` says of each of them, or of this one alone.
    ranks_problem
        Why they could not be started, else empty.
    tmpdir, tmpdir_mib, tmpdir_problem
        Folder for temporary files, its free space, and why it cannot be used, else empty.
    slurm
        Whether this machine belongs to a Slurm cluster.
    slurm_problem
        What Slurm complains of, else empty.
    pmix_problem
        What srun complains of when it shall start ranks by PMIx, else empty.
    """

    modules: tuple[str, ...] = ()
    strangers: Mapping[str, str] = field(default_factory=dict)
    mpirun: str = ""
    mpirun_version: str = ""
    expected_ranks: int = 2
    ranks: Sequence[Mapping[str, Any]] = ()
    ranks_problem: str = ""
    tmpdir: str = ""
    tmpdir_mib: float = float("inf")
    tmpdir_problem: str = ""
    slurm: bool = False
    slurm_problem: str = ""
    pmix_problem: str = ""


def gather_facts(environment: Mapping[str, str]) -> Facts:
    """Ask the commands of this machine, which takes seconds.

    Two ranks are started for it. A process that is a rank itself looks at itself; all ranks of the
    job must call this then.

    Parameters
    ----------
    environment
        Usually ``os.environ``.
    """
    launch = find_launch(environment)
    tmpdir = environment.get("TMPDIR", tempfile.gettempdir())
    mpirun = shutil.which("mpirun", path=environment.get("PATH")) or ""
    version = _first_line(_ask([mpirun, "--version"], environment)[1]) if mpirun else ""
    if launch.size > 1:
        ranks, ranks_problem = _this_rank()
    else:
        ranks, ranks_problem = _start_ranks(mpirun, version, environment)
    slurm = shutil.which("srun", path=environment.get("PATH")) is not None
    status, answer = _ask(["scontrol", "show", "config"], environment) if slurm else (0, "")
    return Facts(
        modules=tuple(name for name in environment.get("LOADEDMODULES", "").split(":") if name),
        strangers=_strangers(),
        mpirun=mpirun,
        mpirun_version=version,
        expected_ranks=launch.size if launch.size > 1 else RANKS,
        ranks=ranks,
        ranks_problem=ranks_problem,
        tmpdir=tmpdir,
        tmpdir_mib=_free_mib(tmpdir),
        tmpdir_problem=_cannot_write(tmpdir),
        slurm=slurm,
        slurm_problem=answer.strip() if status else "",
        pmix_problem=_pmix_problem(environment) if slurm and not status else "",
    )


def _start_ranks(
    mpirun: str, version: str, environment: Mapping[str, str]
) -> tuple[list[dict[str, Any]], str]:
    if not mpirun:
        return [], "there is no mpirun on the PATH"
    command = [mpirun, "-n", str(RANKS)]
    if "Open MPI" in version:
        command += ["--oversubscribe", "--bind-to", "none"]
        command += ["--allow-run-as-root"] if os.getuid() == 0 else []
    command += [sys.executable, "-m", "hvd_nowcast.parallel.self_test"]
    status, answer = _ask(command, environment)
    found = [json.loads(line) for line in answer.splitlines() if line.startswith('{"host"')]
    if status or len(found) != RANKS:
        lines = [line for line in answer.splitlines() if line.strip(" -\0")]
        return [], f"mpirun ended with {status}: {lines[-1] if lines else 'no message'}"
    return found, ""


def _this_rank() -> tuple[list[dict[str, Any]], str]:
    from hvd_nowcast.parallel.self_test import describe_this_rank

    try:
        return [describe_this_rank()], ""
    except (ImportError, OSError, RuntimeError) as problem:
        return [], f"mpi4py: {problem}"


def _strangers() -> dict[str, str]:
    """Packages that another Python's module put before ours."""
    found = {}
    for folder in os.environ.get("PYTHONPATH", "").split(":"):
        for name in ("numpy", "tensorflow", "keras", "horovod", "mpi4py"):
            if folder and (Path(folder) / name).is_dir():
                found[name] = folder
    return found


def _pmix_problem(environment: Mapping[str, str]) -> str:
    # `srun --mpi=list` offers PMIx also where its library is missing; this loads it, and starts
    # nothing. What a job set would make it a step of that job.
    outside = {
        name: value
        for name, value in environment.items()
        if name.startswith("SLURM_CONF") or not name.startswith("SLURM_")
    }
    status, answer = _ask(["srun", "--mpi=pmix", "--test-only", "true"], outside)
    complaints = [line.strip() for line in answer.splitlines() if "pmix" in line.lower()]
    return complaints[0] if status and complaints else ""


def _free_mib(folder: str) -> float:
    try:
        return shutil.disk_usage(folder).free / 2**20
    except OSError:
        return 0.0


def _cannot_write(folder: str) -> str:
    """Why no file can be written there; a quota shows only then."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 2**20)
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        return problem.strerror or str(problem)
    return ""


def _ask(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Status of a command, and all it printed."""
    try:
        done = subprocess.run(
            command,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=LONGEST_ANSWER_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return 1, f"{command[0]} does not answer"
    except OSError as problem:
        return 1, f"{command[0]}: {problem.strerror}"
    return done.returncode, done.stdout


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""
