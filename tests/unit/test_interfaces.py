"""Bytes that left this host, from made counters of the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvd_nowcast.parallel import interfaces
from hvd_nowcast.parallel.communicator import SingleProcess

TABLE = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs
    lo: 7000000    3100    0    0    0     0          0         0  7000000    3100    0    0
  eth0:    9000      10    0    0    0     0          0         0     4200      12    0    0
  eth1:    1000       1    0    0    0     0          0         0     5000       2    0    0
 bond0:   10000      11    0    0    0     0          0         0     9200      14    0    0
"""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dev").write_text(TABLE)
    monkeypatch.setattr(interfaces, "ETHERNET", tmp_path / "dev")
    monkeypatch.setattr(interfaces, "INTERFACES", tmp_path / "net")
    monkeypatch.setattr(interfaces, "INFINIBAND", tmp_path / "infiniband")
    return tmp_path


def test_the_loopback_is_left_out(kernel: Path) -> None:
    assert interfaces.sent_bytes() == 4200 + 5000 + 9200


def test_a_bond_is_counted_once(kernel: Path) -> None:
    for name in ("eth0", "eth1"):
        (kernel / "net" / name / "master").mkdir(parents=True)
    assert interfaces.sent_bytes() == 9200


def test_rdma_is_counted_by_its_adapter(kernel: Path) -> None:
    counters = kernel / "infiniband/mlx5_0/ports/1/counters"
    counters.mkdir(parents=True)
    (counters / "port_xmit_data").write_text("25\n")
    assert interfaces.sent_bytes() == 4200 + 5000 + 9200 + 100


def test_another_system_counts_nothing(kernel: Path) -> None:
    (kernel / "dev").unlink()
    assert interfaces.sent_bytes() == 0


def test_one_host_counts_nothing() -> None:
    assert interfaces.counter_of_sent_bytes(SingleProcess())() == 0


def test_two_hosts_count() -> None:
    class TwoHosts(SingleProcess):
        def gather(self, value: object) -> list[object]:
            return [value, ["other", "net:[2]"]]

    assert interfaces.counter_of_sent_bytes(TwoHosts()) is interfaces.sent_bytes
