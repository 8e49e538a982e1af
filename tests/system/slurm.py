"""A throw-away Slurm cluster: several nodes on this machine, in one folder, ended with the test."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "munged": "munge",
}
START_SECONDS = 30.0

# A job that is run again may start at once instead of after two minutes (cred_expire), is signalled
# when its time comes and not up to a minute before, and ends quickly (KillWait).
CONFIG = """
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1
ReturnToService=2
KillWait=5
MessageTimeout=30
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def missing_for_slurm() -> str:
    """Why a cluster cannot be made on this machine; empty when it can."""
    if os.getuid() != 0:
        return "a Slurm cluster of several nodes needs root"
    absent = [package for name, package in PROGRAMS.items() if shutil.which(name) is None]
    return f"apt-get install {' '.join(absent)}" if absent else ""


class SlurmCluster:
    """Submits jobs to the cluster and watches them.

    Parameters
    ----------
    folder
        Its settings, logs and state.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables = {"SLURM_CONF": str(folder / "slurm.conf")}

    def submit(self, arguments: Sequence[str], environment: Mapping[str, str], where: Path) -> str:
        """Run ``sbatch`` in a folder; the number of the job."""
        printed = self.call("sbatch", "--parsable", *arguments, env=environment, cwd=where)
        return printed.strip()

    def state(self, job: str) -> dict[str, str]:
        """What ``scontrol show job`` says of a job."""
        text = self.call("scontrol", "show", "job", job)
        return dict(re.findall(r"(\S+?)=(\S*)", text))

    def wait(self, job: str, states: Sequence[str], seconds: float) -> dict[str, str]:
        """Wait until a job is in one of some states."""
        limit = time.monotonic() + seconds
        while (found := self.state(job))["JobState"] not in states:
            assert time.monotonic() < limit, f"{found}\n{self.logs()}"
            time.sleep(0.2)
        return found

    def call(
        self, *command: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> str:
        """Run a command of Slurm; what it printed."""
        done = subprocess.run(
            command,
            env={**(os.environ if env is None else env), **self.variables},
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        """The ends of all logs of the daemons."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"== {file.name}\n{file.read_text()[-2000:]}" for file in files)


@contextmanager
def open_cluster(folder: Path, features: Sequence[str]) -> Iterator[SlurmCluster]:
    """Start a cluster with one node of two cores for each feature.

    Parameters
    ----------
    folder
        New folder.
    features
        The feature of each node: ``node1``, ``node2`` and so on.
    """
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "state").mkdir()
    names = [f"node{number + 1}" for number in range(len(features))]
    ports = _free_ports(len(names) + 1)
    host = socket.gethostname()
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 "
        f"Feature={feature} State=UNKNOWN"
        for name, port, feature in zip(names, ports[1:], features, strict=True)
    )
    text = CONFIG.format(host=host, folder=folder, ports=ports, nodes=nodes)
    (folder / "slurm.conf").write_text(text)
    cluster = SlurmCluster(folder)
    with ExitStack() as stack:
        stack.enter_context(_munge(folder))
        stack.enter_context(_daemon(["slurmctld", "-D"], folder))
        for name in names:
            stack.enter_context(_daemon(["slurmd", "-D", "-N", name], folder))
        _wait_until_idle(cluster, len(names))
        yield cluster


@contextmanager
def _munge(folder: Path) -> Iterator[None]:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    files = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={folder}/munge.{name}" for option, name in files.items()]
    # Its own folder is not one that munge finds safe.
    command = ["munged", "--foreground", "--force", f"--key-file={key}", *options]
    with _daemon(command, folder):
        limit = time.monotonic() + START_SECONDS
        while not (folder / "munge.socket").exists():
            assert time.monotonic() < limit, (folder / "munged.log").read_text()
            time.sleep(0.05)
        yield


@contextmanager
def _daemon(command: Sequence[str], folder: Path) -> Iterator[None]:
    log = folder / f"{'.'.join(command).replace('/', '_')[:40]}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, "SLURM_CONF": str(folder / "slurm.conf")},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_until_idle(cluster: SlurmCluster, nodes: int) -> None:
    limit = time.monotonic() + START_SECONDS
    while True:
        done = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%t"],
            env={**os.environ, **cluster.variables},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.stdout.split() == ["idle"] * nodes:
            return
        assert time.monotonic() < limit, done.stdout + done.stderr + cluster.logs()
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
