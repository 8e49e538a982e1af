"""What all ranks must agree on before they go on: errors, order of work, equal settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hvd_nowcast.errors import HvdNowcastError, JobError, ParallelError
from hvd_nowcast.parallel.communicator import Communicator, describe_rank

Result = TypeVar("Result")


def on_all(communicator: Communicator, action: Callable[[], Result]) -> Result:
    """Run an action on every rank, and raise the same error on all if it fails on any.

    Raises
    ------
    JobError
        With the message of the lowest rank that failed. A communicator of one raises the error
        itself.
    """
    result, problem = _attempt(action)
    _share(communicator, problem)
    assert result is not None
    return result[0]


def in_turn(communicator: Communicator, action: Callable[[], Result]) -> Result:
    """Run an action on rank 0, then on the others, which find what rank 0 made.

    Raises
    ------
    JobError
        As `on_all`.
    """
    result, problem = _attempt(action) if communicator.rank == 0 else (None, None)
    _share(communicator, problem)
    if communicator.rank != 0:
        result, problem = _attempt(action)
    if communicator.size > 1:
        _share(communicator, problem)
    assert result is not None
    return result[0]


def from_first(communicator: Communicator, action: Callable[[], Any]) -> Any:
    """Run an action on rank 0 alone and give every rank its result, anything JSON can hold."""
    result, problem = _attempt(action) if communicator.rank == 0 else (None, None)
    _share(communicator, problem)
    return communicator.gather(result[0] if result else None)[0]


def require_same(communicator: Communicator, what: str, facts: Mapping[str, Any]) -> None:
    """Refuse to go on when a rank has other facts than rank 0.

    Parameters
    ----------
    communicator
        The ranks.
    what
        What is compared, for the message.
    facts
        Names and values, anything JSON can hold.

    Raises
    ------
    ParallelError
        On every rank, naming the first rank that differs and how.
    """
    first, *others = communicator.gather([describe_rank(communicator.rank), dict(facts)])
    for who, theirs in others:
        different = [key for key in first[1] | theirs if first[1].get(key) != theirs.get(key)]
        if different:
            changes = ", ".join(
                f"{key} is {theirs.get(key)!r} there and {first[1].get(key)!r} on rank 0"
                for key in sorted(different)
            )
            raise _shared(
                ParallelError(
                    f"{what} must be the same on all ranks, but {who} differs: {changes}. Start "
                    "every rank with the same files, environment and command"
                )
            )


def _attempt(
    action: Callable[[], Result],
) -> tuple[tuple[Result] | None, HvdNowcastError | None]:
    try:
        return (action(),), None
    except HvdNowcastError as problem:
        return None, problem


def _share(communicator: Communicator, problem: HvdNowcastError | None) -> None:
    if communicator.size == 1:
        if problem is not None:
            raise problem
        return
    mine = None
    if problem is not None:
        mine = [f"{describe_rank(communicator.rank)}: {problem}", problem.exit_status]
    found = [report for report in communicator.gather(mine) if report]
    if found:
        raise JobError(*found[0]) from problem


def _shared(problem: HvdNowcastError) -> JobError:
    return JobError(str(problem), problem.exit_status)
