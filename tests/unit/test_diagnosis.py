from __future__ import annotations

import json
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from hvd_nowcast.diagnosis import facts as looking
from hvd_nowcast.diagnosis.facts import Facts, gather_facts
from hvd_nowcast.diagnosis.problems import Problem, find_problems, problem_table

Usage = namedtuple("Usage", "total used free")
OPEN_MPI = "mpirun (Open MPI) 5.0.11"


def rank(number: int, size: int = 2, **more: Any) -> dict[str, Any]:
    usual = {
        "host": "here",
        "rank": number,
        "size": size,
        "library": "Open MPI v5.0.11",
        "libraries": ["/opt/lib/libmpi.so.40"],
        "threads": True,
        "horovod": "",
    }
    return {**usual, **more}


def facts(**more: Any) -> Facts:
    """A healthy environment but for some facts."""
    healthy = {
        "modules": ("gcc/12", "openmpi/5.0", "hvd_nowcast/0.1.0"),
        "mpirun": "/opt/bin/mpirun",
        "mpirun_version": OPEN_MPI,
        "ranks": [rank(0), rank(1)],
        "tmpdir": "/tmp",
        "slurm": True,
    }
    return Facts(**{**healthy, **more})


def only_problem(seen: Facts) -> Problem:
    (problem,) = find_problems(seen)
    return problem


def test_nothing_wrong() -> None:
    assert find_problems(facts()) == []
    assert find_problems(facts(modules=())) == []
    assert problem_table([]) == "no problem was found"


def test_wrong_module_order_is_named_with_the_right_one() -> None:
    problem = only_problem(facts(modules=("gcc/12", "hvd_nowcast/0.1.0", "openmpi/5.0", "git")))
    assert problem.what == "module order"
    assert "openmpi/5.0 loaded after hvd_nowcast/0.1.0" in problem.finding
    assert problem.remedy.endswith("module load openmpi/5.0 hvd_nowcast/0.1.0")


def test_packages_of_another_python_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = only_problem(facts(strangers={"numpy": "/apps/python/lib"}))
    assert problem.what == "module order"
    assert "numpy comes from /apps/python/lib" in problem.finding


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"mpirun_version": "mpirun (Open MPI) 4.1.4"}, "is Open MPI 4.1.4, mpi4py has Open MPI 5"),
        ({"mpirun_version": "HYDRA build details: Version: 4.0.2"}, "is MPICH 4.0.2, mpi4py has"),
        (
            {"ranks": [rank(n, libraries=["/a/libmpi.so.40", "/b/libmpi.so.40"]) for n in (0, 1)]},
            "use /a/libmpi.so.40 and /b/libmpi.so.40",
        ),
    ],
)
def test_two_mpis_are_named(more: dict[str, Any], words: str) -> None:
    problem = only_problem(facts(**more))
    assert problem.what == "two MPIs"
    assert words in problem.finding


def test_ranks_that_do_not_see_each_other_are_named() -> None:
    problem = only_problem(facts(ranks=[rank(0, 1), rank(0, 1)]))
    assert problem.what == "ranks do not see each other"
    # A rank of a job looks at itself.
    problem = only_problem(facts(ranks=[rank(0, 1)], expected_ranks=16))
    assert "16 were started, and MPI shows them [1]" in problem.finding
    assert find_problems(facts(ranks=[rank(0, 16)], expected_ranks=16)) == []


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"ranks": [], "ranks_problem": "none", "mpirun": ""}, "no MPI"),
        ({"ranks": [], "ranks_problem": "mpirun ended with 1: so"}, "ranks do not start"),
        ({"ranks": [rank(0, horovod="no module"), rank(1)]}, "Horovod"),
        ({"ranks": [rank(0, threads=False), rank(1)]}, "MPI threads"),
        ({"tmpdir_mib": 10.0}, "TMPDIR"),
        ({"tmpdir_problem": "No space left on device"}, "TMPDIR"),
        ({"slurm_problem": "error: x\nerror: Munge encode failed: no socket"}, "munge"),
        ({"slurm_problem": "error: Unable to contact slurm controller"}, "Slurm"),
        ({"pmix_problem": "srun: error: Invalid MPI type 'pmix'"}, "PMIx"),
    ],
)
def test_each_problem_has_a_name(more: dict[str, Any], what: str) -> None:
    problem = only_problem(facts(**more))
    assert problem.what == what
    assert problem.remedy
    assert problem.what in problem_table([problem])


def stand_in(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/usr/bin/env bash\n{script}\n")
    path.chmod(0o755)


def test_facts_come_from_the_commands_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = json.dumps(rank(0, 1))
    stand_in(
        tmp_path, "mpirun", f"[ $1 = --version ] && echo '{OPEN_MPI}' || echo '{line}\n{line}'"
    )
    srun = 'echo "srun: no step"; echo "srun: no PMIx, job ${SLURM_JOB_ID-none}" >&2; exit 1'
    stand_in(tmp_path, "srun", srun)
    stand_in(tmp_path, "scontrol", "echo AuthType = auth/munge")
    (tmp_path / "numpy").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(looking.shutil, "disk_usage", lambda _: Usage(9, 8, 2**20))
    seen = gather_facts(
        {
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "TMPDIR": str(tmp_path),
            "LOADEDMODULES": "hvd_nowcast/0.1.0:openmpi/5.0",
            "SLURM_JOB_ID": "7",
        }
    )
    assert seen.mpirun == str(tmp_path / "mpirun")
    assert seen.pmix_problem == "srun: no PMIx, job none"
    assert [problem.what for problem in find_problems(seen)] == [
        "module order",
        "module order",
        "ranks do not see each other",
        "TMPDIR",
        "PMIx",
    ]


def test_a_silent_or_absent_command_is_a_fact_and_no_crash(tmp_path: Path) -> None:
    seen = gather_facts({"PATH": str(tmp_path), "TMPDIR": str(tmp_path / "absent")})
    assert [problem.what for problem in find_problems(seen)] == ["no MPI", "TMPDIR"]
    stand_in(tmp_path, "mpirun", "echo a cause >&2; exit 3")
    seen = gather_facts({"PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path)})
    assert seen.ranks_problem == "mpirun ended with 3: a cause"


def test_a_rank_of_a_job_looks_at_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    seen = gather_facts({"PATH": str(tmp_path), "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4"})
    assert seen.expected_ranks == 4
    assert seen.ranks_problem.startswith("mpi4py:")
