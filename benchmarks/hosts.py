"""Several hosts on one machine: namespaces with an sshd in each, for ``mpirun`` across them.

Every host has a name, an address and a network card of its own; a switch joins them. Nothing of it
is seen outside, and it all vanishes with the processes that hold the namespaces. Root is needed.

>>> with open_hosts(2, folder) as hosts:
...     job = hosts.mpirun(["hvd-nowcast", "train", ...], os.environ)
...     hosts.bytes_sent("host-1")
...     hosts.cut("host-2")
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

NAMESPACES = ["--net", "--uts", "--mount", "--ipc", "--pid"]
SUBNET = "10.215.0"
PROGRAMS = {"ip": "iproute2", "sshd": "openssh-server", "ssh": "openssh-client"}
PATIENCE_SECONDS = 10.0

SSHD = """
Port 22
ListenAddress {address}
HostKey {folder}/key
AuthorizedKeysFile {folder}/key.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PermitUserEnvironment no
AcceptEnv *
"""
SSH = """
Host *
  IdentityFile {folder}/key
  IdentitiesOnly yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
  ConnectTimeout 5
"""


def missing_for_hosts() -> str:
    """Why hosts cannot be made on this machine; empty when they can."""
    if os.getuid() != 0:
        return "network namespaces need root"
    absent = sorted(package for name, package in PROGRAMS.items() if shutil.which(name) is None)
    if absent:
        return f"apt-get install {' '.join(absent)}"
    attempt = ["unshare", *NAMESPACES, "--fork", "true"]
    done = subprocess.run(attempt, capture_output=True, text=True, check=False)
    return f"no namespaces in this container: {done.stderr.strip()}" if done.returncode else ""


@dataclass(frozen=True)
class Host:
    """One host.

    Attributes
    ----------
    name, address
        As the others know it.
    process
        Holds its namespaces; commands enter through it.
    """

    name: str
    address: str
    process: int

    def command(self, arguments: Sequence[str]) -> list[str]:
        """A command line that runs on this host."""
        # Mounts of its own also mean a working directory of its own.
        where = ["--target", str(self.process), f"--wd={Path.cwd()}"]
        return ["nsenter", *where, *NAMESPACES, "--", *arguments]

    def run(self, *arguments: str) -> str:
        """Run a short command on this host; its output."""
        done = subprocess.run(
            self.command(arguments), check=True, capture_output=True, text=True, timeout=30
        )
        return done.stdout


class Hosts:
    """The hosts, and what can happen to them.

    Parameters
    ----------
    hosts
        In the order of their names.
    folder
        Keys and settings of ssh.
    """

    def __init__(self, hosts: Sequence[Host], folder: Path) -> None:
        self.hosts = list(hosts)
        self._folder = folder

    @property
    def variables(self) -> dict[str, str]:
        """What makes ``mpirun`` start ranks on these hosts, whatever scheduler is around."""
        return {
            "PRTE_MCA_plm": "ssh",
            "PRTE_MCA_plm_ssh_agent": f"ssh -F {self._folder}/ssh_config",
            "PRTE_MCA_ras": "^slurm",
            # Process numbers begin at 1 on every host, so what an earlier test left has our names.
            "PRTE_MCA_prte_tmpdir_base": str(self._folder),
        }

    def slots(self, ranks_per_host: int = 1) -> str:
        """The value of ``mpirun --host``."""
        return ",".join(f"{host.name}:{ranks_per_host}" for host in self.hosts)

    def mpirun(
        self, arguments: Sequence[str], environment: Mapping[str, str], ranks_per_host: int = 1
    ) -> subprocess.Popen[str]:
        """Start a command as ranks on all hosts, see `start`."""
        command = ["mpirun", "--host", self.slots(ranks_per_host), "--bind-to", "none"]
        passed = [word for name in environment if _is_for_ranks(name) for word in ("-x", name)]
        return self.start([*command, "--allow-run-as-root", *passed, *arguments], environment)

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        """Start a command on the first host, as its user would, in a process group of its own.

        Parameters
        ----------
        arguments
            Such as ``mpirun --host a:1,b:1 COMMAND``, with the hosts of `slots`.
        environment
            Of that command; ``mpirun`` passes little of it on, see its ``-x``.
        """
        return subprocess.Popen(
            self.hosts[0].command(arguments),
            env={**environment, **self.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def bytes_sent(self, name: str) -> int:
        """Bytes a host has sent over its network card since it came up."""
        (line,) = (
            line
            for line in self._host(name).run("cat", "/proc/net/dev").splitlines()
            if line.strip().startswith("eth0:")
        )
        return int(line.split(":")[1].split()[8])

    def cut(self, name: str) -> None:
        """Take the link of a host away: packets are lost, and nobody is told."""
        self._host(name).run("ip", "link", "set", "eth0", "down")

    def mend(self, name: str) -> None:
        """Give the link back."""
        self._host(name).run("ip", "link", "set", "eth0", "up")

    def _host(self, name: str) -> Host:
        (host,) = (host for host in self.hosts if host.name == name)
        return host


@contextmanager
def open_hosts(count: int, folder: Path) -> Iterator[Hosts]:
    """Make some hosts, ``host-1`` and so on, that reach each other by name with ssh.

    Parameters
    ----------
    count
        How many.
    folder
        New folder for keys and settings, seen by all hosts.
    """
    folder.mkdir(mode=0o700)
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")]
    subprocess.run(keygen, check=True)
    (folder / "ssh_config").write_text(SSH.format(folder=folder))
    names = {f"host-{number}": f"{SUBNET}.{number}" for number in range(1, count + 1)}
    table = "".join(f"{address} {name}\n" for name, address in names.items())
    (folder / "hosts").write_text("127.0.0.1 localhost\n" + table)
    Path("/run/sshd").mkdir(exist_ok=True)
    with ExitStack() as stack:
        switch = stack.enter_context(_namespaces("switch"))
        _ip(switch, "link add bridge type bridge", "link set bridge up")
        hosts = [
            Host(name, address, stack.enter_context(_namespaces(name)))
            for name, address in names.items()
        ]
        for host in hosts:
            _connect(host, switch)
            host.run("mount", "--bind", str(folder / "hosts"), "/etc/hosts")
            stack.enter_context(_sshd(host, folder))
        yield Hosts(hosts, folder)


@contextmanager
def _namespaces(name: str) -> Iterator[int]:
    """A process with its own network, name and mounts; its number."""
    script = f"hostname {name} && ip link set lo up && echo ready && exec sleep infinity"
    # Process number 1 of the host: what runs there ends with it.
    command = ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n", f"no namespaces for {name}"
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        yield int(children.read_text())
    finally:
        holder.kill()
        holder.communicate()


def _connect(host: Host, switch: int) -> None:
    """A cable from the host to the switch."""
    port = host.name
    _ip(switch, f"link add {port} type veth peer name eth0 netns {host.process}")
    _ip(switch, f"link set {port} master bridge up")
    _ip(host.process, f"address add {host.address}/24 dev eth0", "link set eth0 up")


def _ip(process: int, *commands: str) -> None:
    for command in commands:
        enter = ["nsenter", "--target", str(process), "--net", "ip", *command.split()]
        subprocess.run(enter, check=True, timeout=30)


@contextmanager
def _sshd(host: Host, folder: Path) -> Iterator[None]:
    config = folder / f"sshd_config.{host.name}"
    config.write_text(SSHD.format(address=host.address, folder=folder))
    program = shutil.which("sshd")
    assert program is not None
    with (folder / f"sshd.{host.name}.log").open("w") as log:
        server = subprocess.Popen(
            host.command([program, "-D", "-e", "-f", str(config)]), stderr=log, text=True
        )
    try:
        limit = time.monotonic() + PATIENCE_SECONDS
        while "listening" not in (text := Path(log.name).read_text()):
            assert server.poll() is None and time.monotonic() < limit, text
            time.sleep(0.02)
        yield
    finally:
        server.terminate()
        server.wait()


def _is_for_ranks(name: str) -> bool:
    """Whether ranks on other hosts, which see only what is passed on, want a variable."""
    prefixes = ("HVD_", "HOROVOD_", "OMP_", "TF_", "HDF5_")
    return name.startswith(prefixes) or name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
