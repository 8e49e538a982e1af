from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hvd_nowcast.errors import MissingDependencyError, ParallelError, StallError
from hvd_nowcast.parallel.communicator import SingleProcess
from hvd_nowcast.parallel.startup import (
    connect,
    loaded_mpi_libraries,
    pin_device,
    require_true_sums,
)
from hvd_nowcast.parallel.watchdog import Watchdog

TWO = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}


def test_alone_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    assert isinstance(connect({}), SingleProcess)


@pytest.mark.parametrize(
    "environment", [{"HOROVOD_RANK": "0", "HOROVOD_SIZE": "2"}, {"HOROVOD_CONTROLLER": "gloo"}]
)
def test_gloo_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(ParallelError, match="CVE-2024-10190.*horovodrun --mpi"):
        connect(environment)


def test_many_ranks_without_mpi4py_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    with pytest.raises(MissingDependencyError, match="need mpi4py.*launch/setup.sh"):
        connect(TWO)


def test_a_launcher_of_another_mpi_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    world = SimpleNamespace(Get_size=lambda: 1)
    mpi = SimpleNamespace(COMM_WORLD=world, Get_library_version=lambda: "Other MPI 1.0, x\ny")
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", mpi)
    with pytest.raises(ParallelError, match=r"announces 2 ranks, but MPI sees 1.*Other MPI 1\.0"):
        connect(TWO)


class Liar(SingleProcess):
    """Gives back what it was given, as Horovod's optimiser does under Keras 3."""

    size = 2

    def sum_tensors(self, tensors: Sequence[Any], name: str = "sums") -> list[Any]:
        return list(tensors)


def test_sums_that_are_none_are_found_out() -> None:
    require_true_sums(SingleProcess())
    with pytest.raises(ParallelError, match="does not add up"):
        require_true_sums(Liar())


@pytest.mark.parametrize(
    ("gpus", "local_rank", "taken"),
    [(4, 2, ["gpu2"]), (1, 2, ["gpu0"]), (2, 3, ["gpu1"]), (0, 1, [])],
)
def test_each_rank_takes_the_gpu_of_its_number(
    monkeypatch: pytest.MonkeyPatch, gpus: int, local_rank: int, taken: list[str]
) -> None:
    import tensorflow as tf

    visible: list[str] = []
    grows: list[str] = []
    there = [f"gpu{number}" for number in range(gpus)]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: there)
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda gpu, kind: visible.append(gpu))
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: grows.append(gpu)
    )
    pin_device(local_rank)
    assert visible == grows == taken


def test_libraries_are_read_from_the_memory_map(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text(
        "7f-80 r-xp 0 08:01 5 /opt/a/lib/libmpi.so.40\n"
        "80-81 r--p 0 08:01 5 /opt/a/lib/libmpi.so.40\n"
        "81-82 r-xp 0 08:01 6 /opt/b/lib/libmpich.so.12\n"
        "82-83 r-xp 0 08:01 7 /opt/b/lib/libmpi_mpifh.so.12\n"
        "83-84 rw-p 0 00:00 0 \n"
    )
    assert loaded_mpi_libraries(maps) == ["/opt/a/lib/libmpi.so.40", "/opt/b/lib/libmpich.so.12"]
    assert loaded_mpi_libraries(tmp_path / "absent") == []


def test_the_watchdog_speaks_of_what_takes_too_long(capfd: pytest.CaptureFixture[str]) -> None:
    found: list[StallError] = []
    with Watchdog(0.2, found.append) as watchdog:
        watchdog.doing("reading")
        time.sleep(0.6)
    assert "while reading" in str(found[0])
    assert len(found) == 1
    assert "test_the_watchdog_speaks" in capfd.readouterr().err


def test_the_watchdog_keeps_quiet_while_there_is_progress() -> None:
    found: list[StallError] = []
    with Watchdog(0.4, found.append) as watchdog:
        for _ in range(8):
            watchdog.doing("reading")
            time.sleep(0.1)
        # Waiting for others may take longer by half.
        watchdog.doing("a step", together=True)
        time.sleep(0.5)
    assert found == []
