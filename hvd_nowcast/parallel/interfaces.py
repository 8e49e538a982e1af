"""What this host's network interfaces have sent, as the kernel counts it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from hvd_nowcast.parallel.communicator import Communicator

ETHERNET = Path("/proc/net/dev")
INTERFACES = Path("/sys/class/net")
NAMESPACE = Path("/proc/self/ns/net")
# RDMA goes past the kernel's network: the adapter counts words of 4 bytes (ib_port_attributes).
INFINIBAND = Path("/sys/class/infiniband")
INFINIBAND_WORD = 4
# Of the numbers behind an interface's name in /proc/net/dev.
SENT_COLUMN = 8


def counter_of_sent_bytes(communicator: Communicator) -> Callable[[], int]:
    """What counts the bytes that left this host; always 0 where all ranks are on one host.

    Parameters
    ----------
    communicator
        All ranks; the call is collective.
    """
    several = len({tuple(host) for host in communicator.gather(_host())}) > 1
    return sent_bytes if several else lambda: 0


def sent_bytes() -> int:
    """Bytes that all interfaces of this host but the loopback have sent since they came up."""
    try:
        table = ETHERNET.read_text(encoding="ascii").splitlines()
    except OSError:  # Only Linux has it.
        return 0
    return _of_ethernet(table) + _of_infiniband()


def _of_ethernet(table: Iterable[str]) -> int:
    total = 0
    for line in table:
        name, colon, numbers = line.partition(":")
        if colon and name.strip() != "lo" and not _below_another(INTERFACES / name.strip()):
            total += int(numbers.split()[SENT_COLUMN])
    return total


def _of_infiniband() -> int:
    counters = _counters(INFINIBAND)
    return INFINIBAND_WORD * sum(int(counter.read_text(encoding="ascii")) for counter in counters)


# Cards do not come and go while a training counts at every step.
@cache
def _below_another(interface: Path) -> bool:
    # The bond or bridge above counts the same bytes.
    return (interface / "master").exists()


@cache
def _counters(adapters: Path) -> tuple[Path, ...]:
    return tuple(adapters.glob("*/ports/*/counters/port_xmit_data"))


def _host() -> list[str]:
    """Name and network namespace: containers on one machine may be hosts of their own."""
    try:
        return [socket.gethostname(), str(NAMESPACE.readlink())]
    except OSError:
        return [socket.gethostname()]
