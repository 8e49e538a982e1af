"""Agreement between ranks, with threads in the place of processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from hvd_nowcast.errors import ConfigError, InputError, JobError
from hvd_nowcast.parallel.agreement import from_first, in_turn, on_all, require_same
from hvd_nowcast.parallel.communicator import Communicator, SingleProcess


class ThreadRank(SingleProcess):
    """One of several ranks that are threads of this process."""

    def __init__(self, rank: int, barrier: threading.Barrier, board: list[Any]) -> None:
        self.rank = rank
        self.size = len(board)
        self._barrier = barrier
        self._board = board

    def gather(self, value: Any) -> list[Any]:
        self._board[self.rank] = value
        self._barrier.wait(5)
        found = list(self._board)
        self._barrier.wait(5)
        return found


def on_ranks(count: int, action: Callable[[Communicator], Any]) -> list[Any]:
    """Run an action on some ranks; results or errors by rank."""
    barrier, board, results = threading.Barrier(count), [None] * count, [None] * count

    def run(rank: int) -> None:
        try:
            results[rank] = action(ThreadRank(rank, barrier, board))
        except Exception as problem:  # What is raised is the result.
            results[rank] = problem

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def fail_on(rank: int, *failing: int) -> int:
    if rank in failing:
        raise ConfigError(f"bad on {rank}")
    return 10 * rank


def test_results_stay_on_their_rank() -> None:
    assert on_ranks(3, lambda c: on_all(c, lambda: fail_on(c.rank))) == [0, 10, 20]


def test_one_rank_that_fails_fails_all_with_the_same_error() -> None:
    problems = on_ranks(3, lambda c: on_all(c, lambda: fail_on(c.rank, 1, 2)))
    assert {type(problem) for problem in problems} == {JobError}
    assert len({str(problem) for problem in problems}) == 1
    assert "rank 1 on" in str(problems[0])
    assert "bad on 1" in str(problems[0])
    assert {problem.exit_status for problem in problems} == {2}


@pytest.mark.parametrize("failing", [0, 2])
def test_in_turn_waits_for_rank_0_and_shares_errors(failing: int) -> None:
    order: list[int] = []

    def act(rank: int) -> int:
        order.append(rank)
        return fail_on(rank, failing)

    problems = on_ranks(3, lambda c: in_turn(c, lambda: act(c.rank)))
    assert order[0] == 0
    assert all(f"bad on {failing}" in str(problem) for problem in problems)
    assert (len(order) == 1) == (failing == 0)


def test_from_first_runs_once_and_everybody_has_the_result() -> None:
    calls: list[int] = []

    def act(rank: int) -> dict[str, int]:
        calls.append(rank)
        return {"answer": 42}

    assert on_ranks(3, lambda c: from_first(c, lambda: act(c.rank))) == [{"answer": 42}] * 3
    assert calls == [0]


def test_facts_that_differ_are_named() -> None:
    def compare(communicator: Communicator) -> None:
        odd = communicator.rank == 2
        require_same(communicator, "settings", {"a": 1, **({"b": 3} if odd else {"b": 2})})

    problems = on_ranks(3, compare)
    assert {type(problem) for problem in problems} == {JobError}
    assert "settings must be the same" in str(problems[1])
    assert "b is 3 there and 2 on rank 0" in str(problems[1])
    assert on_ranks(2, lambda c: require_same(c, "settings", {"a": 1})) == [None, None]


def test_one_process_raises_the_error_itself() -> None:
    with pytest.raises(InputError):
        on_all(SingleProcess(), lambda: (_ for _ in ()).throw(InputError("a", "b", "c")))
