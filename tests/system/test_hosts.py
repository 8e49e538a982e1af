"""Training across two hosts with a network between them, which fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.hosts import SUBNET, Hosts, missing_for_hosts, open_hosts
from tests.parallel.conftest import error_lines
from tests.system.conftest import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.slow]

STEPS = 200
SETTINGS = [
    f"training.steps={STEPS}",
    "training.checkpoint_every=5",
    "training.validate_every=100",
    "training.validation_samples=3",
    "data.synthetic=null",
]
# In place of two minutes: a silent host is asked after 3 s, and given up 3 s later.
QUICK = {"time": "3", "intvl": "1", "probes": "3"}
LONGEST_END_SECONDS = 30.0


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    if reason := missing_for_hosts():
        pytest.skip(f"NO TEST ON TWO HOSTS: {reason}")
    if shutil.which("mpirun") is None:
        pytest.skip("NO TEST ON TWO HOSTS: no mpirun, launch/setup.sh brings one")
    with open_hosts(2, tmp_path / "ssh") as two:
        yield two


def plain_environment() -> dict[str, str]:
    """One thread per rank, and no trace of a launcher around the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMIX_", "PRTE_"))}
    return {**kept, "OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}


def stage_on_both(hosts: Hosts, shards: Path, disk: Path) -> str:
    """Give each host a disk of its own, copy the shards there, and take the originals away."""
    disk.mkdir()
    for host in hosts.hosts:
        host.run("mount", "-t", "tmpfs", "tmpfs", str(disk))
    command = [sys.executable, "-m", "hvd_nowcast", "shards", "stage", str(shards)]
    job = hosts.mpirun([*command, "--to", str(disk / "copy")], plain_environment())
    printed, _ = job.communicate(timeout=240)
    assert job.returncode == 0, printed
    for host in hosts.hosts:
        assert "manifest.json" in host.run("ls", str(disk / "copy"))
    assert not (disk / "copy").exists()
    shards.rename(shards.with_name("away"))
    return printed


def start_training(
    hosts: Hosts, run: Path, shards: Path, copy: Path, *more: str
) -> subprocess.Popen[str]:
    settings = [*SETTINGS, f"data.shards={shards}"]
    flags = [word for setting in settings for word in ("--set", setting)]
    command = ["launch/local.sh", "2", "configs/tiny.yaml", "--run", str(run), *flags]
    command += ["--shards", str(copy), *more]
    keepalive = {f"PRTE_MCA_oob_tcp_keepalive_{name}": value for name, value in QUICK.items()}
    variables = {**plain_environment(), **keepalive, "MPIRUN_OPTIONS": f"--host {hosts.slots()}"}
    return hosts.start([str(REPOSITORY / command[0]), *command[1:]], variables)


def wait_for_step(run: Path, step: int, job: subprocess.Popen[str]) -> None:
    metrics = run / "metrics.jsonl"
    while not (metrics.exists() and f'"step": {step},' in metrics.read_text()):
        assert job.poll() is None, job.communicate()[0]
        time.sleep(0.05)


def left_behind(run: Path) -> str:
    """Ranks and daemons that still run on any host."""
    pattern = rf"train.*{run}|prted.*{SUBNET}"
    command = ["pgrep", "-af", pattern]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_a_lost_link_ends_the_job_and_a_resume_finishes_it(
    hosts: Hosts, tmp_path: Path, synthetic_shards: Path
) -> None:
    run, disk = tmp_path / "run", tmp_path / "disk"
    shards = Path(shutil.copytree(synthetic_shards, tmp_path / "shards"))
    printed = stage_on_both(hosts, shards, disk)
    assert "host-1: 4 shards" in printed and "host-2: 4 shards" in printed, printed
    job = start_training(hosts, run, shards, disk / "copy")
    wait_for_step(run, 20, job)
    # The gradients really travelled: 4 bytes for each of about 20,000 weights, at each step.
    assert hosts.bytes_sent("host-2") > 1e6
    hosts.cut("host-2")
    cut_at = time.monotonic()
    output, _ = job.communicate(timeout=LONGEST_END_SECONDS)
    # mpirun ends its own message with a zero byte.
    (error,) = error_lines(output.replace("\0", "\n"))
    assert "as happens when a host is lost" in error
    assert "--resume" in error
    assert job.returncode == 8, output
    while left := left_behind(run):
        assert time.monotonic() - cut_at < LONGEST_END_SECONDS, left
        time.sleep(0.2)
    assert not (run / "final.json").exists()
    assert not list(run.rglob("*.part"))
    hosts.mend("host-2")
    job = start_training(hosts, run, shards, disk / "copy", "--resume")
    output, _ = job.communicate(timeout=240)
    assert job.returncode == 0, output
    assert "resuming" in output
    final = json.loads((run / "final.json").read_text())
    assert (final["steps"], final["ranks"]) == (STEPS, 2)
