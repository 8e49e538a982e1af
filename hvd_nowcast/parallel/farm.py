"""Many small jobs over ranks: each rank takes the next as soon as it is free.

What comes when is decided by `JobQueue` alone, which is plain Python. Who carries it to the other
ranks is mpi4py.futures; rank 0 works too, between handing out.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from hvd_nowcast.errors import HvdNowcastError, Interrupted, MissingDependencyError
from hvd_nowcast.parallel.launcher import find_launch

ATTEMPTS = 2
# How long rank 0 sleeps when there is nothing for it, at most: a result wakes it.
LOOK_SECONDS = 0.2

Work = Callable[[str], dict[str, Any]]
Report = Callable[["Outcome"], None]


@dataclass(frozen=True)
class FarmJob:
    """One job.

    Attributes
    ----------
    name
        Given to the worker.
    after
        Jobs that must have succeeded before.
    turn
        Jobs of a lower turn come first.
    cost
        How long it takes, in any unit: inside a turn the longest comes first.
    """

    name: str
    after: tuple[str, ...] = ()
    turn: int = 0
    cost: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes
    ----------
    name
        Of the job.
    result
        What the worker gave; None after a failure.
    problem
        Why it failed twice, or was never tried; None after a success.
    first_problem
        Why the first attempt failed, where there was a second.
    seconds
        What the last attempt took.
    """

    name: str
    result: dict[str, Any] | None = None
    problem: str | None = None
    first_problem: str | None = None
    seconds: float = 0.0


class JobQueue:
    """Which job comes next.

    Parameters
    ----------
    jobs
        All of them; ``after`` may name jobs that are finished already.
    finished
        Names of jobs that earlier runs finished.

    Raises
    ------
    ValueError
        When a job waits for one that does not exist, or for itself.
    """

    def __init__(self, jobs: Sequence[FarmJob], finished: Sequence[str] = ()) -> None:
        self._good = set(finished)
        self._waiting = sorted(
            (job for job in jobs if job.name not in self._good),
            key=lambda job: (job.turn, -job.cost, job.name),
        )
        known = {job.name for job in jobs} | self._good
        for job in self._waiting:
            if set(job.after) - known or job.name in job.after:
                raise ValueError(f"{job.name} waits for {', '.join(job.after)}, which cannot be")
        self._problems: dict[str, list[str]] = {}
        self._running: dict[str, FarmJob] = {}
        self._stopped = False

    @property
    def done(self) -> bool:
        """Whether nothing runs and nothing is left to be taken."""
        return not self._running and (self._stopped or not self._waiting)

    def take(self) -> str | None:
        """Name of the next job; None when each one left waits for another, or none is left."""
        if self._stopped:
            return None
        for job in self._waiting:
            if self._good.issuperset(job.after):
                self._waiting.remove(job)
                self._running[job.name] = job
                return job.name
        return None

    def succeed(self, name: str, result: dict[str, Any]) -> list[Outcome]:
        """Note a success."""
        del self._running[name]
        self._good.add(name)
        first = self._problems.get(name, [None])[0]
        return [Outcome(name, result, first_problem=first)]

    def fail(self, name: str, problem: str) -> list[Outcome]:
        """Note a failure; if final, the outcomes of the job and of all that waited for it."""
        job = self._running.pop(name)
        told = self._problems.setdefault(name, [])
        told.append(problem)
        if len(told) < ATTEMPTS:
            self._waiting.insert(0, job)
            return []
        return [Outcome(name, problem=problem, first_problem=told[0]), *self._lose(name)]

    def _lose(self, failed: str) -> list[Outcome]:
        outcomes = []
        for job in [job for job in self._waiting if failed in job.after]:
            if job in self._waiting:  # It may have waited for a job that was lost before it.
                self._waiting.remove(job)
                outcomes.append(Outcome(job.name, problem=f"waited for {failed}, which failed"))
                outcomes += self._lose(job.name)
        return outcomes

    def stop(self) -> None:
        """Give out no more jobs."""
        self._stopped = True


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
    with futures.MPICommExecutor(world, root=0) as executor:
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


def ideal_seconds(
    jobs: Sequence[FarmJob], seconds: Mapping[str, float], speeds: Sequence[float]
) -> float:
    """The least time in which ranks can do some jobs, whatever the order: a lower bound.

    All ranks busy all the time, or the longest chain of jobs that wait for each other on the
    fastest rank, whichever is longer (Graham 1969, doi:10.1137/0117039).

    Parameters
    ----------
    jobs
        With what each waits for.
    seconds
        Of each job on a rank of speed 1.
    speeds
        Of the ranks.
    """
    by_name = {job.name: job for job in jobs}
    chains: dict[str, float] = {}

    def chain(name: str) -> float:
        if name not in chains:
            waits = [chain(other) for other in by_name[name].after if other in by_name]
            chains[name] = seconds[name] + max(waits, default=0.0)
        return chains[name]

    longest = max((chain(name) for name in by_name), default=0.0)
    total = sum(seconds[name] for name in by_name)
    return max(total / sum(speeds), longest / max(speeds))


def listed_seconds(
    jobs: Sequence[FarmJob], seconds: Mapping[str, float], speeds: Sequence[float]
) -> float:
    """How long the farm takes for jobs of known length, if handing out costs nothing.

    Parameters
    ----------
    jobs, seconds, speeds
        As of `ideal_seconds`.
    """
    queue = JobQueue(jobs)
    free = [0.0] * len(speeds)
    running: list[tuple[float, int, str]] = []
    now = 0.0
    while not queue.done:
        idle = [r for r in range(len(speeds)) if free[r] <= now]
        for rank in idle:
            name = queue.take()
            if name is None:
                break
            free[rank] = now + seconds[name] / speeds[rank]
            running.append((free[rank], rank, name))
        now, _, name = min(running)
        running.remove(min(running))
        queue.succeed(name, {})
    return now
