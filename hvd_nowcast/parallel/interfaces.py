"""What this host's network interfaces have sent, as the kernel counts it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
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
        if colon and name.strip() != "lo" and not _in_a_bond(name.strip()):
            total += int(numbers.split()[SENT_COLUMN])
    return total


def _in_a_bond(name: str) -> bool:
    # The bond or bridge above counts the same bytes.
    return (INTERFACES / name / "master").exists()


def _of_infiniband() -> int:
    counters = INFINIBAND.glob("*/ports/*/counters/port_xmit_data")
    return INFINIBAND_WORD * sum(int(counter.read_text(encoding="ascii")) for counter in counters)


def _host() -> list[str]:
    """Name and network namespace: containers on one machine may be hosts of their own."""
    try:
        return [socket.gethostname(), str(NAMESPACE.readlink())]
    except OSError:
        return [socket.gethostname()]
