"""From a launched process to a communicator that is proven to work."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from hvd_nowcast.errors import MissingDependencyError, ParallelError
from hvd_nowcast.keras_import import import_keras
from hvd_nowcast.parallel.communicator import Communicator, SingleProcess
from hvd_nowcast.parallel.horovod_communicator import HorovodCommunicator
from hvd_nowcast.parallel.launcher import Launch, find_launch
from hvd_nowcast.parallel.own_core import keep_to_own_core

MPI_LIBRARY = re.compile(r"/lib(?:mpi|mpich|mpi_cxx|mpi_ilp64)\.so[.\d]*$")


def connect(environment: Mapping[str, str], timeline: Path | None = None) -> Communicator:
    """Join the other ranks that the launcher announced; alone, neither MPI nor Horovod is needed.

    Parameters
    ----------
    environment
        Usually ``os.environ``.
    timeline
        Where Horovod writes its timeline, a Chrome trace, on rank 0.

    Raises
    ------
    ParallelError
        When the launcher and MPI disagree, MPI cannot serve threads, or sums come out wrong.
    MissingDependencyError
        When several ranks are wanted and Horovod or mpi4py is absent.
    """
    launch = find_launch(environment)
    _refuse_gloo(launch, environment)
    if launch.size == 1:
        return SingleProcess()
    if timeline is not None:
        os.environ["HOROVOD_TIMELINE"] = str(timeline)
    # mpi4py first: it then owns the life of MPI.
    mpi = _import("mpi4py.MPI")
    world = mpi.COMM_WORLD
    if world.Get_size() != launch.size:
        raise ParallelError(
            f"{launch.launcher} announces {launch.size} ranks, but MPI sees {world.Get_size()}: "
            f"the launcher is of another MPI than mpi4py ({_first_line(mpi)}). Start with the "
            "mpirun of that MPI, for example by: source launch/env.sh"
        )
    # Before anything starts threads, which stay where the one that starts them is.
    machine = world.Split_type(mpi.COMM_TYPE_SHARED)
    keep_to_own_core(machine)
    machine.Free()
    import_keras()
    horovod = _import("horovod.tensorflow")
    _require_threads(mpi.Query_thread() == mpi.THREAD_MULTIPLE, "mpi4py")
    horovod.init(comm=world)
    _require_threads(horovod.mpi_threads_supported(), "Horovod")
    _require_one_mpi(loaded_mpi_libraries(Path("/proc/self/maps")))
    pin_device(horovod.local_rank())
    communicator = HorovodCommunicator(horovod, world)
    require_true_sums(communicator)
    return communicator


def pin_device(local_rank: int) -> None:
    """Give this rank one GPU; TensorFlow would take the memory of all of the node for each.

    Where the batch system shows a rank only its own GPU, that one is taken. More ranks than GPUs
    share them.

    Parameters
    ----------
    local_rank
        Number of this rank on its node.
    """
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    if devices:
        mine = devices[local_rank % len(devices)]
        tf.config.set_visible_devices(mine, "GPU")
        tf.config.experimental.set_memory_growth(mine, True)


def require_true_sums(communicator: Communicator) -> None:
    """Prove that sums over ranks are sums, before a model is trained with them.

    Raises
    ------
    ParallelError
        When they are not.
    """
    import tensorflow as tf

    size, rank = communicator.size, communicator.rank

    def add(value: Any) -> Any:
        return communicator.sum_tensors([value, 2.0 * value], name="self_test")

    single, double = tf.function(add)(tf.constant([1.0, float(rank)]))
    expected = [float(size), size * (size - 1) / 2]
    if single.numpy().tolist() != expected or double.numpy().tolist() != [2 * e for e in expected]:
        raise ParallelError(
            f"the sum over {size} ranks should be {expected} and is {single.numpy().tolist()}: "
            "this Horovod does not add up. Build it again with: launch/setup.sh --force"
        )


def loaded_mpi_libraries(maps: Path) -> list[str]:
    """Files of the MPI libraries this process has loaded, from its memory map."""
    if not maps.exists():
        return []
    paths = {line.split(maxsplit=5)[-1] for line in maps.read_text().splitlines() if "/" in line}
    return sorted({os.path.realpath(path) for path in paths if MPI_LIBRARY.search(path)})


def _require_one_mpi(libraries: list[str]) -> None:
    if len(libraries) > 1:
        raise ParallelError(
            f"mpi4py and Horovod use different MPI libraries: {', '.join(libraries)}. Build both "
            "with one MPI: launch/setup.sh --force after loading its module"
        )


def _refuse_gloo(launch: Launch, environment: Mapping[str, str]) -> None:
    if launch.launcher.endswith("gloo") or environment.get("HOROVOD_CONTROLLER") == "gloo":
        raise ParallelError(
            "Horovod's Gloo controller is refused: its rendezvous server runs code from anybody on "
            "the network (CVE-2024-10190). Use mpirun, srun, or horovodrun --mpi"
        )


def _require_threads(supported: bool, who: str) -> None:
    if not supported:
        raise ParallelError(
            f"{who} runs on an MPI without MPI_THREAD_MULTIPLE, which Horovod's thread needs. Use "
            "an MPI built with it, and unset MPI4PY_RC_THREAD_LEVEL and HOROVOD_MPI_THREADS_DISABLE"
        )


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except (ImportError, RuntimeError, OSError) as problem:
        raise MissingDependencyError(
            f"several ranks need {name.split('.')[0]}, which cannot be used here: {problem}. Run "
            "launch/setup.sh, or start one process without mpirun"
        ) from problem


def _first_line(mpi: Any) -> str:
    return str(mpi.Get_library_version()).splitlines()[0].split(",")[0]
