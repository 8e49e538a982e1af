"""The farm: what comes when, without ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvd_nowcast.errors import ConfigError, Interrupted
from hvd_nowcast.parallel.farm import Farm
from hvd_nowcast.parallel.job_queue import (
    FarmJob,
    JobQueue,
    Outcome,
    ideal_seconds,
)


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


FAMILY = [
    FarmJob("source", turn=0, cost=3.0),
    FarmJob("short", ("source",), 1, 1.0),
    FarmJob("long", ("source",), 1, 2.0),
    FarmJob("other", turn=0, cost=5.0),
]


def order(queue: JobQueue) -> list[str]:
    names = []
    while (name := queue.take()) is not None:
        names.append(name)
        queue.succeed(name, {})
    return names


def test_sources_come_first_and_the_longest_of_a_turn() -> None:
    assert order(JobQueue(FAMILY)) == ["other", "source", "long", "short"]


def test_a_job_waits_for_its_source() -> None:
    queue = JobQueue(FAMILY)
    assert [queue.take(), queue.take(), queue.take()] == ["other", "source", None]
    queue.succeed("source", {})
    assert queue.take() == "long"


def test_finished_jobs_are_left_out() -> None:
    assert order(JobQueue(FAMILY, ["source", "long"])) == ["other", "short"]


def test_a_failed_job_is_tried_once_more_at_once() -> None:
    queue = JobQueue(FAMILY)
    assert queue.take() == "other"
    assert queue.fail("other", "no luck") == []
    assert queue.take() == "other"
    assert queue.succeed("other", {"a": 1}) == [Outcome("other", {"a": 1}, None, "no luck")]


def test_jobs_that_wait_for_a_failed_one_are_told_of() -> None:
    chain = [*FAMILY, FarmJob("last", ("long", "source"), 2)]
    queue = JobQueue(chain, ["other"])
    for _ in range(2):
        assert queue.take() == "source"
        found = queue.fail("source", "broken")
    assert [outcome.name for outcome in found] == ["source", "long", "last", "short"]
    assert all(outcome.problem for outcome in found)
    assert queue.done


def test_a_job_that_waits_for_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be"):
        JobQueue([FarmJob("a", ("b",))])


def test_one_process_does_all_and_reports_failures() -> None:
    tried: list[str] = []

    def work(name: str) -> dict[str, Any]:
        tried.append(name)
        if name == "long":
            raise ConfigError("too long")
        return {"name": name}

    reported: list[Outcome] = []
    outcomes = Farm().run(FAMILY, [], work, reported.append)
    assert tried == ["other", "source", "long", "long", "short"]
    assert reported == outcomes
    assert [o.problem for o in outcomes] == [None, None, "too long", None]


def test_a_signal_ends_the_farm() -> None:
    tried: list[str] = []

    def work(name: str) -> dict[str, Any]:
        tried.append(name)
        raise Interrupted("stopped by SIGTERM")

    with pytest.raises(Interrupted, match="SIGTERM"):
        Farm().run(FAMILY, [], work, lambda outcome: None)
    assert tried == ["other"]


def test_the_ideal_is_bounded_by_work_and_by_chains() -> None:
    seconds = {"source": 3.0, "short": 1.0, "long": 2.0, "other": 5.0}
    assert ideal_seconds(FAMILY, seconds, [1.0]) == 11.0
    assert ideal_seconds(FAMILY, seconds, [1.0, 1.0]) == 5.5
    assert ideal_seconds(FAMILY, seconds, [1.0] * 4) == 5.0
    assert ideal_seconds(FAMILY, seconds, [2.0, 1.0]) == pytest.approx(11 / 3)


@settings(deadline=None)
@given(
    st.lists(st.floats(0.1, 10), min_size=1, max_size=12),
    st.lists(st.floats(0.5, 4), min_size=1, max_size=4),
)
def test_the_list_schedule_is_near_the_ideal(seconds: list[float], speeds: list[float]) -> None:
    jobs = [FarmJob(f"{n:02d}", cost=value) for n, value in enumerate(seconds)]
    by_name = {job.name: job.cost for job in jobs}
    ideal = ideal_seconds(jobs, by_name, speeds)
    found = listed_seconds(jobs, by_name, speeds)
    assert ideal - 1e-9 <= found <= ideal + max(seconds) / min(speeds) + 1e-9


def test_a_slow_rank_takes_fewer() -> None:
    jobs = [FarmJob(f"{n:02d}") for n in range(30)]
    alike = {job.name: 1.0 for job in jobs}
    assert listed_seconds(jobs, alike, [2.0, 1.0]) == pytest.approx(10.0, rel=0.06)
