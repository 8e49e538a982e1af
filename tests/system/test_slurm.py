"""The batch scripts on a real Slurm cluster of two nodes, made for the test."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hvd_nowcast.diagnosis.facts import gather_facts
from hvd_nowcast.diagnosis.problems import find_problems
from tests.system.conftest import REPOSITORY
from tests.system.slurm import SlurmCluster, missing_for_slurm, open_cluster

pytestmark = [pytest.mark.system, pytest.mark.slow]

SETTINGS = [
    "training.steps=60",
    "training.checkpoint_every=10",
    "training.validation_samples=3",
    "data.synthetic.frames=80",
]
TINY = ["configs/tiny.yaml", *(word for setting in SETTINGS for word in ("--set", setting))]
TWO_NODES = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1"]
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
# Slurm looks at time limits twice a minute.
SIGNAL_SECONDS = 45.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    if reason := missing_for_slurm():
        pytest.skip(f"NO SLURM TEST: {reason}")
    with open_cluster(tmp_path_factory.mktemp("cluster") / "slurm", ["fast", "slow"]) as found:
        yield found


def environment(**more: str) -> dict[str, str]:
    """As in the shell of a user: no launcher, threads left to launch/env.sh."""
    strange = ("OMPI_", "PMIX_", "PRTE_", "SLURM_", "OMP_NUM", "TF_NUM")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    return {**kept, "HVD_NOWCAST_ROOT": str(REPOSITORY), **more}


def final(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "final.json").read_text())
    return content


def wait_for(what: str, path: Path, seconds: float) -> None:
    limit = time.monotonic() + seconds
    while not (path.exists() and what in path.read_text()):
        text = path.read_text() if path.exists() else "no such file"
        assert time.monotonic() < limit, f"no {what!r} in {path}: {text}"
        time.sleep(0.05)


def ranks_of(run: Path) -> list[int]:
    """Process numbers of the ranks that train a run."""
    found = subprocess.run(
        ["pgrep", "-f", f"python.*hvd-nowcast train.*--run {run} "],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(number) for number in found.stdout.split()]


def test_a_job_at_its_limit_goes_on_in_another_and_ends_as_on_one_machine(
    cluster: SlurmCluster, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "job.log"
    job = cluster.submit(
        [*TWO_NODES, "--signal=B:USR1@119", f"--output={log}", "launch/train.sbatch", *TINY]
        + ["--run", str(run), "--set", "training.seed=0"],
        environment(),
        REPOSITORY,
    )
    wait_for('"step": 10', run / "metrics.jsonl", 240)
    # Training waits until Slurm has sent the signal, however fast this machine is.
    ranks = ranks_of(run)
    for number in ranks:
        os.kill(number, signal.SIGSTOP)
    minutes = int(cluster.state(job)["RunTime"].split(":")[1]) + 1
    cluster.call("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")
    whole = tmp_path / "whole"
    subprocess.run(
        ["launch/local.sh", "2", *TINY, "--run", str(whole)],
        cwd=REPOSITORY,
        env=environment(),
        check=True,
        capture_output=True,
        timeout=240,
    )
    wait_for("a signal: asking for an end", log, SIGNAL_SECONDS)
    cluster.call("scontrol", "update", f"JobId={job}", "TimeLimit=60")
    for number in ranks:
        os.kill(number, signal.SIGCONT)
    state = cluster.wait(job, ENDED, 240)
    text = log.read_text()
    assert state["JobState"] == "COMPLETED", text
    assert len(ranks) == 2, text
    assert state["Restarts"] == "1"
    assert state["NodeList"] == "node[1-2]"
    assert text.count("error: stopped by SIGUSR1") == 1, text
    assert "restart 1, on node[1-2], from step-000000" in text
    assert "resuming" in text
    for name in ("fingerprint", "loss", "best_loss", "steps"):
        assert final(run)[name] == final(whole)[name]


def submit_and_wait(
    cluster: SlurmCluster, log: Path, arguments: list[str], **variables: str
) -> tuple[dict[str, str], str]:
    """Run a batch script to its end: state of the job, and its log."""
    job = cluster.submit([f"--output={log}", *arguments], environment(**variables), REPOSITORY)
    state = cluster.wait(job, ENDED, 240)
    return state, log.read_text()


def has_pmix() -> bool:
    """Whether Slurm's plugin finds the library that it loads, whose name is in libpmix-dev."""
    return any(any(Path("/usr").glob(f"{lib}/libpmix.so")) for lib in ("lib*", "lib/*"))


def plugins_but_pmix(cluster: SlurmCluster, folder: Path) -> Path:
    """A folder with the plugins that Slurm uses, without those for PMIx."""
    settings = cluster.call("scontrol", "show", "config")
    used = dict(re.findall(r"(\w+)\s*=\s*(\S+)", settings))["PluginDir"]
    folder.mkdir()
    for plugin in Path(used).glob("*.so"):
        if "pmix" not in plugin.name:
            (folder / plugin.name).symlink_to(plugin)
    return folder


def test_srun_starts_the_ranks_by_pmix(cluster: SlurmCluster, tmp_path: Path) -> None:
    if not has_pmix():
        pytest.skip("NO PMIX TEST: apt-get install libpmix-dev")
    run = tmp_path / "run"
    node = ["--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1"]
    command = [*node, "launch/train.sbatch", *TINY, "--run", str(run)]
    state, text = submit_and_wait(cluster, tmp_path / "job.log", command, MPI_TYPE="pmix")
    assert state["JobState"] == "COMPLETED", text
    assert final(run)["ranks"] == 2


def test_two_kinds_of_node_in_one_job(cluster: SlurmCluster, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["--ntasks-per-node=1", "--cpus-per-task=1", "launch/train_het.sbatch", *TINY]
    state, text = submit_and_wait(cluster, tmp_path / "job.log", [*command, "--run", str(run)])
    assert state["JobState"] == "COMPLETED", text
    assert state["NodeList"] == "node[1-2]"
    (plan,) = final(run)["shares"]
    assert sum(plan["shares"]) == 4, plan


def test_a_job_that_fails_is_not_run_again(cluster: SlurmCluster, tmp_path: Path) -> None:
    command = [*TWO_NODES, "launch/train.sbatch", *TINY, "--run", str(tmp_path / "run")]
    state, text = submit_and_wait(cluster, tmp_path / "job.log", command, MPIRUN="absent")
    assert (state["JobState"], state["ExitCode"]) == ("FAILED", "4:0"), text
    assert state["Restarts"] == "0"
    assert text.count("error:") == 1


def problems_seen(variables: dict[str, str]) -> set[str]:
    # Without an mpirun on the PATH, which would start ranks and is not asked about here.
    seen = gather_facts({"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **variables})
    return {problem.what for problem in find_problems(seen)} - {"no MPI"}


def test_the_check_finds_munge_and_pmix_missing(cluster: SlurmCluster, tmp_path: Path) -> None:
    assert problems_seen(cluster.variables) == (set() if has_pmix() else {"PMIx"})
    settings = (cluster.folder / "slurm.conf").read_text()
    dead = tmp_path / "slurm.conf"
    dead.write_text(settings.replace("munge.socket", "no.socket"))
    assert problems_seen({"SLURM_CONF": str(dead)}) == {"munge"}
    dead.write_text(f"{settings}PluginDir={plugins_but_pmix(cluster, tmp_path / 'plugins')}\n")
    assert problems_seen({"SLURM_CONF": str(dead)}) == {"PMIx"}
