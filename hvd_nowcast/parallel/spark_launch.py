"""Ranks inside Spark tasks, started by ``horovod.spark.run`` with MPI, never with Gloo.

Horovod reaches the tasks through services of its own and has one of them start MPI's daemon, so a
rank finds itself under ``mpirun`` like any other.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any, TextIO

from hvd_nowcast.errors import Interrupted, JobError, MissingDependencyError, ParallelError
from hvd_nowcast.parallel.launcher import STOP_SIGNALS

# What ranks are given of the driver's environment; the rest, passwords too, stays here.
EXPORTED = re.compile(
    r"PATH|PYTHONPATH|LD_LIBRARY_PATH|HOME|LANG|TMPDIR|VIRTUAL_ENV|JAVA_HOME|"
    r"(HOROVOD|OMPI_MCA|PRTE_MCA|PMIX_MCA|TF|OMP|HDF5|HVD_NOWCAST)_\w+"
)
_TAG = re.compile(r"\[\d+,\d+\]<std(?:out|err)>: ?")
_VERSION = re.compile(r"\(Open MPI\) (\d+)\.")
_SIGNALLED = 128
# mpirun of Open MPI 4, and what that of Open MPI 5 becomes.
_LAUNCHERS = ("mpirun", "prterun")


def run_on_spark(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    ranks: int,
    variables: Mapping[str, str],
    local: bool,
    trusted: bool = False,
) -> list[Any]:
    """Call a function on some ranks, each in a task of the active SparkContext.

    Parameters
    ----------
    function
        Importable on the executors; it joins the other ranks by itself.
    arguments
        For it.
    ranks
        How many.
    variables
        Added to the ranks' environment.
    local
        Whether all executors are on this machine.
    trusted
        Whether the user trusts the network between them.

    Returns
    -------
    list
        What each rank returned, in rank order.

    Raises
    ------
    ParallelError
        When the network is not trusted, or the ranks do not start.
    MissingDependencyError
        When Horovod, pyarrow or Open MPI is absent.
    Interrupted
        After a signal that came before the ranks could save.
    SystemExit
        With the status of a job that failed and said why, or that saved after a signal.
    """
    require_trust(local, trusted)
    version = _open_mpi_version()
    horovod = _import_horovod()
    environment = {**exported(os.environ), **variables, "OMPI_MCA_mpi_yield_when_idle": "1"}
    signals: list[int] = []
    try:
        with _options_for(version), _quiet(), _passed_on(signals):
            return horovod.run(
                function,
                args=tuple(arguments),
                num_proc=ranks,
                use_mpi=True,
                use_gloo=False,
                env=environment,
                stdout=Untagged(sys.stdout),
                stderr=Untagged(sys.stderr),
                verbose=0,
                nics={"lo"} if local else None,
            )
    except (Exception, KeyboardInterrupt) as problem:  # Horovod raises nothing more special.
        raise explain_failure(problem, signals) from problem


def require_trust(local: bool, trusted: bool) -> None:
    """Refuse ranks on other machines unless the user trusts the network between them.

    Raises
    ------
    ParallelError
        With the reason.
    """
    if not (local or trusted):
        raise ParallelError(
            "training on Spark over a network is refused: Horovod's services run what is signed "
            "with a key that Spark sends as it is, so whoever reads its traffic could run code on "
            "every node. Encrypt Spark's traffic (spark.authenticate and "
            "spark.network.crypto.enabled), or keep it on a network of your own, and add "
            "--trust-network; or start the ranks with mpirun or srun"
        )


def exported(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that ranks are given."""
    return {name: text for name, text in environment.items() if EXPORTED.fullmatch(name)}


class Untagged:
    """A stream without the marks that mpirun puts before each line.

    Parameters
    ----------
    stream
        Where the lines go.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Pass on some text."""
        self._stream.write(_TAG.sub("", text))

    def flush(self) -> None:
        """Pass on what is held back."""
        self._stream.flush()


@contextmanager
def _options_for(version: int) -> Iterator[None]:
    """Correct two options that Horovod writes for Open MPI 4 and that Open MPI 5 does not know."""
    launcher: Any = import_module("horovod.spark.mpi_run")
    original = launcher.hr_mpi_run

    def corrected(settings: Any, *arguments: Any, **named: Any) -> None:
        settings.binding_args = "--bind-to none --map-by slot"
        if version >= 5:
            options = settings.extra_mpi_args.replace("-mca plm_rsh_", "--prtemca plm_ssh_")
            settings.extra_mpi_args = options
        original(settings, *arguments, **named)

    launcher.hr_mpi_run = corrected
    try:
        yield
    finally:
        launcher.hr_mpi_run = original


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Horovod leaves to Python: a Java stack trace in a thread, semaphores."""
    hook, variable = threading.excepthook, "PYTHONWARNINGS"
    warnings = os.environ.get(variable, "")
    threading.excepthook = lambda _: None
    os.environ[variable] = f"{warnings},ignore:resource_tracker:UserWarning".lstrip(",")
    try:
        yield
    finally:
        threading.excepthook = hook
        os.environ[variable] = warnings


@contextmanager
def _passed_on(received: list[int]) -> Iterator[None]:
    """Tell the ranks of signals that reach the driver, so that they save and leave.

    mpirun gives SIGUSR1 to the ranks on all nodes, but takes SIGTERM as its own end.
    """

    def tell(number: int, frame: FrameType | None) -> None:
        received.append(number)
        launchers = _mpirun_processes()
        for process in launchers:
            process.send_signal(signal.SIGUSR1)
        if not launchers or received.count(signal.SIGINT) > 1:
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, tell) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _mpirun_processes() -> list[Any]:
    psutil: Any = import_module("psutil")  # Horovod needs it.
    below = psutil.Process().children(recursive=True)
    return [process for process in below if process.name() in _LAUNCHERS]


def explain_failure(problem: BaseException, signals: Sequence[int] = ()) -> BaseException:
    """What to raise instead of an error of ``horovod.spark.run``.

    Parameters
    ----------
    problem
        The error; it holds the exit status of mpirun where ranks were started.
    signals
        What reached the driver.
    """
    failed = re.search(r"mpirun failed with exit code (\d+)", str(problem))
    if signals and (failed is None or int(failed[1]) > _SIGNALLED):
        name = signal.Signals(signals[0]).name
        return Interrupted(
            f"stopped by {name} when the ranks could not save. Continue from the last checkpoint, "
            "where there is one: the same command with --resume"
        )
    if failed is None:
        return ParallelError(
            f"the ranks did not start in Spark's tasks: {problem}. Executors need the environment "
            "of the driver, and a free slot for each rank"
        )
    status = int(failed[1])
    if status > _SIGNALLED:
        return JobError(
            f"a rank was ended by signal {status - _SIGNALLED}, as happens without enough memory. "
            "Continue from the last checkpoint: the same command with --resume",
            status,
        )
    # The rank itself has said why.
    return SystemExit(status)


def _open_mpi_version() -> int:
    command = shutil.which("mpirun")
    text = ""
    if command is not None:
        done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
        text = done.stdout
    found = _VERSION.search(text)
    if found is None:
        raise MissingDependencyError(
            "training on Spark needs mpirun of Open MPI on the PATH of driver and executors: "
            "source launch/env.sh, or load the site's module"
        )
    return int(found[1])


def _import_horovod() -> Any:
    try:
        return import_module("horovod.spark")
    except ImportError as problem:
        raise MissingDependencyError(
            f"training on Spark needs Horovod, pyspark and pyarrow ({problem}): run "
            "launch/setup.sh, or pip install 'hvd_nowcast[hpc,spark]'"
        ) from problem
