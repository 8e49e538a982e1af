"""Many small jobs over ranks: each rank takes the next as soon as it is free.

What comes when is decided by `JobQueue` alone, which is plain Python. Who carries it to the other
ranks is mpi4py.futures; rank 0 works too, between handing out.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from hvd_nowcast.errors import HvdNowcastError, Interrupted, MissingDependencyError
from hvd_nowcast.parallel.job_queue import FarmJob, JobQueue, Outcome
from hvd_nowcast.parallel.launcher import find_launch

# How long rank 0 sleeps when there is nothing for it, at most: a result wakes it.
LOOK_SECONDS = 0.2
# How often the executor looks for messages, where mpi4py's default is every millisecond: that
# takes 3 % of the core on which rank 0 works, and jobs last seconds.
POLL_SECONDS = 0.02

Work = Callable[[str], dict[str, Any]]
Report = Callable[[Outcome], None]


class Farm:
    """All ranks that were launched, as rank 0 sees them.

    Parameters
    ----------
    executor
        Of mpi4py.futures; None for a process alone.
    others
        Ranks besides this one.
    """

    def __init__(self, executor: Any = None, others: int = 0) -> None:
        self._executor, self._others = executor, others

    @property
    def ranks(self) -> int:
        """How many work."""
        return self._others + 1

    def run(
        self, jobs: Sequence[FarmJob], finished: Sequence[str], work: Work, report: Report
    ) -> list[Outcome]:
        """Do jobs.

        Parameters
        ----------
        jobs
            All of them.
        finished
            Names of those that earlier runs finished.
        work
            Called with the name of a job, in the main thread of one rank; a function of a module,
            or a ``functools.partial`` of one. What it returns travels between ranks.
        report
            Called with each outcome, as it comes.

        Returns
        -------
        list of Outcome
            In the order they came.

        Raises
        ------
        Interrupted
            After a signal, when the jobs in work have saved their state.
        """
        queue = JobQueue(jobs, finished)
        return _Foreman(queue, work, report, self._executor, self._others).run()


@contextmanager
def open_farm() -> Iterator[Farm | None]:
    """The ranks that were launched: on rank 0 to command them, on the others None, after the end.

    Raises
    ------
    MissingDependencyError
        When several ranks were launched and mpi4py cannot be used.
    """
    launch = find_launch(os.environ)
    if launch.size == 1:
        yield Farm()
        return
    futures, world = _mpi()
    with futures.MPICommExecutor(world, root=0, backoff=POLL_SECONDS) as executor:
        yield None if executor is None else Farm(executor, launch.size - 1)


def _mpi() -> tuple[Any, Any]:
    try:
        from mpi4py import MPI, futures
    except (ImportError, RuntimeError) as problem:
        raise MissingDependencyError(
            f"several ranks need mpi4py, which cannot be used here: {problem}. Run "
            "launch/setup.sh, or start one process without mpirun"
        ) from problem
    return futures, MPI.COMM_WORLD


class _Foreman:
    """Hands out jobs on rank 0, and does some itself."""

    def __init__(
        self, queue: JobQueue, work: Work, report: Report, executor: Any, others: int
    ) -> None:
        self._queue, self._work, self._report = queue, work, report
        self._executor = executor
        self._idle = others
        self._news = threading.Condition()
        self._outcomes: list[Outcome] = []
        self._interrupted: str | None = None

    def run(self) -> list[Outcome]:
        """Until nothing is left."""
        while True:
            with self._news:
                self._hand_out()
                if self._queue.done:
                    break
                name = self._queue.take()
                if name is None:
                    self._news.wait(LOOK_SECONDS)
                    continue
            self._do(name)
        if self._interrupted is not None:
            raise Interrupted(self._interrupted)
        return self._outcomes

    def _do(self, name: str) -> None:
        report = _attempt(self._work, name)
        with self._news:
            self._note(name, report)

    def _hand_out(self) -> None:
        while self._idle and (name := self._queue.take()) is not None:
            self._idle -= 1
            future = self._executor.submit(_attempt, self._work, name)
            future.add_done_callback(lambda done, job=name: self._came_back(job, done))

    def _came_back(self, name: str, future: Any) -> None:
        # Called from the thread of the executor: rank 0 may be in the middle of a job of its own.
        with self._news:
            self._idle += 1
            self._note(name, future.result())
            self._hand_out()
            self._news.notify()

    def _note(self, name: str, report: _Attempt) -> None:
        if report.interrupted:
            self._interrupted = report.problem
            self._queue.stop()
        if report.problem is None:
            outcomes = self._queue.succeed(name, report.result)
        else:
            outcomes = self._queue.fail(name, report.problem)
        for outcome in outcomes:
            mine = replace(outcome, seconds=report.seconds) if outcome.name == name else outcome
            self._outcomes.append(mine)
            self._report(mine)


@dataclass(frozen=True)
class _Attempt:
    """What travels back from a rank: errors as text, since not every error can travel."""

    result: dict[str, Any]
    problem: str | None = None
    interrupted: bool = False
    seconds: float = 0.0


def _attempt(work: Work, name: str) -> _Attempt:
    started = time.perf_counter()
    try:
        result = work(name)
        return _Attempt(result, seconds=time.perf_counter() - started)
    except Interrupted as problem:
        return _Attempt({}, str(problem), True)
    except HvdNowcastError as problem:
        return _Attempt({}, str(problem))
    except Exception as problem:  # Whatever ends one job, the others go on and it is told.
        return _Attempt({}, f"{type(problem).__name__}: {problem}")
