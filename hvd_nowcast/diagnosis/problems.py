"""Judge what was seen of an environment, without touching anything."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from hvd_nowcast import console
from hvd_nowcast.diagnosis.facts import Facts

# mpirun keeps its sessions there, and staged shards are many times larger.
LEAST_TMPDIR_MIB = 256
# Modules that bring a Python, an MPI or libraries of their own.
RIVALS = re.compile(
    r"(open)?mpi|mpich|mvapich|impi|intel-mpi|python|anaconda|conda|tensorflow|keras|horovod", re.I
)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes
    ----------
    what
        Its name.
    finding
        What was seen.
    remedy
        What to do.
    """

    what: str
    finding: str
    remedy: str


def find_problems(facts: Facts) -> list[Problem]:
    """Judge what was seen.

    Returns
    -------
    list of Problem
        Empty when nothing is wrong.
    """
    return [
        *_module_order(facts),
        *_two_mpis(facts),
        *_blind_ranks(facts),
        *_tmpdir(facts),
        *_slurm(facts),
    ]


def _module_order(facts: Facts) -> list[Problem]:
    problems = []
    ours = [place for place, name in enumerate(facts.modules) if name.startswith("hvd_nowcast")]
    after = [name for name in facts.modules[ours[0] + 1 :] if RIVALS.match(name)] if ours else []
    if after:
        order = " ".join([*after, facts.modules[ours[0]]])
        problems.append(
            Problem(
                "module order",
                f"{', '.join(after)} loaded after {facts.modules[ours[0]]}",
                f"module purge; module load {order}",
            )
        )
    for name, path in facts.strangers.items():
        problems.append(
            Problem(
                "module order",
                f"{name} comes from {path}, not from {sys.prefix}",
                "unload the module that sets PYTHONPATH, or unset it",
            )
        )
    return problems


def _two_mpis(facts: Facts) -> list[Problem]:
    problems = []
    libraries = sorted({path for rank in facts.ranks for path in rank["libraries"]})
    if len(libraries) > 1:
        problems.append(
            Problem(
                "two MPIs",
                f"mpi4py and Horovod use {' and '.join(libraries)}",
                "load one MPI module and build again: launch/setup.sh --force",
            )
        )
    library = str(facts.ranks[0]["library"]) if facts.ranks else ""
    started_by, made_for = _mpi_of(facts.mpirun_version), _mpi_of(library)
    if started_by and made_for and started_by != made_for:
        problems.append(
            Problem(
                "two MPIs",
                f"{facts.mpirun} is {' '.join(started_by)}, mpi4py has {' '.join(made_for)}",
                "load the MPI module that launch/setup.sh saw before hvd_nowcast, and no other",
            )
        )
    return problems


def _blind_ranks(facts: Facts) -> list[Problem]:
    if facts.ranks_problem:
        what = "no MPI" if not facts.mpirun else "ranks do not start"
        return [Problem(what, facts.ranks_problem, "one process works; see launch/setup.sh")]
    problems = []
    sizes = [rank["size"] for rank in facts.ranks]
    if set(sizes) != {facts.expected_ranks}:
        problems.append(
            Problem(
                "ranks do not see each other",
                f"{facts.expected_ranks} were started, and MPI shows them {sizes}",
                "start them with the mpirun of mpi4py's MPI, or with srun --mpi=pmix",
            )
        )
    unusable = {str(rank["horovod"]) for rank in facts.ranks if rank["horovod"]}
    for reason in sorted(unusable):
        problems.append(
            Problem("Horovod", reason, "build it with this MPI: launch/setup.sh --force")
        )
    if not unusable and not all(rank["threads"] for rank in facts.ranks):
        problems.append(
            Problem("MPI threads", "this MPI has no MPI_THREAD_MULTIPLE", "use another MPI build")
        )
    return problems


def _tmpdir(facts: Facts) -> list[Problem]:
    remedy = "free some space, or point TMPDIR to another disk of this node"
    if facts.tmpdir_problem:
        return [Problem("TMPDIR", f"{facts.tmpdir}: {facts.tmpdir_problem}", remedy)]
    if facts.tmpdir_mib < LEAST_TMPDIR_MIB:
        return [Problem("TMPDIR", f"{facts.tmpdir}: {facts.tmpdir_mib:.0f} MiB free", remedy)]
    return []


def _slurm(facts: Facts) -> list[Problem]:
    if not facts.slurm:
        return []
    if facts.slurm_problem:
        lines = facts.slurm_problem.splitlines()
        munge = [line for line in lines if "munge" in line.lower()]
        if munge:
            remedy = "start munged on this node, with the key of the cluster"
            return [Problem("munge", munge[0], remedy)]
        return [Problem("Slurm", lines[0], "ask the site: srun and sbatch cannot work here")]
    if facts.pmix_problem:
        finding = f"srun --mpi=pmix cannot start ranks: {facts.pmix_problem}"
        remedy = (
            "leave MPI_TYPE unset, so that mpirun starts the ranks, or install libpmix "
            "(Debian: libpmix-dev)"
        )
        return [Problem("PMIx", finding, remedy)]
    return []


def problem_table(problems: Sequence[Problem]) -> str:
    """Lay out what was found for people."""
    if not problems:
        return "no problem was found"
    rows = [[problem.what, problem.finding, problem.remedy] for problem in problems]
    return console.table(["problem", "what was seen", "what to do"], rows)


def _mpi_of(text: str) -> tuple[str, str] | None:
    """Kind and version of an MPI, from what ``mpirun --version`` or the library says."""
    kinds = {"Open MPI": r"Open MPI\D*", "MPICH": r"(?:MPICH|HYDRA)\D*", "Intel": r"Intel.*?MPI\D*"}
    for kind, pattern in kinds.items():
        if found := re.search(pattern + r"(\d+\.\d+\.\d+)", text, re.I):
            return kind, found.group(1)
    return None
