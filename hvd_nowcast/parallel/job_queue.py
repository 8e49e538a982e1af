"""Which of many jobs comes next, and how long all of them take at least: plain Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A job that fails is tried again, once.
ATTEMPTS = 2


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
