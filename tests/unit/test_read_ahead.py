"""Reading ahead: order, sizes, errors, and a reader that nobody wants any more."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from hvd_nowcast.errors import ShardError
from hvd_nowcast.loader import read_ahead as module
from hvd_nowcast.loader.read_ahead import BATCHES_AHEAD, BATCHES_AT_ONCE, core_to_spare, read_ahead


@pytest.fixture(params=["a core to spare", "one core"])
def spare(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    spare: bool = request.param != "one core"
    monkeypatch.setattr(module, "core_to_spare", lambda: spare)
    return spare


def numbers(count: int, drawn: list[int] | None = None) -> Iterator[dict[str, Any]]:
    for number in range(count):
        if drawn is not None:
            drawn.append(number)
        yield {"field": np.full((2, 3), number, np.uint16), "number": np.int32(number)}


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "read ahead"]


@pytest.mark.usefixtures("spare")
def test_batches_come_in_order_and_the_last_may_be_smaller() -> None:
    batches = list(read_ahead(lambda: numbers(7), 3))
    assert [batch["number"].numpy().tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert batches[0]["field"].dtype == "uint16"
    assert batches[2]["field"].shape == (1, 2, 3)
    assert (batches[1]["field"].numpy() == np.array([3, 4, 5])[:, None, None]).all()
    assert not readers()
    assert list(read_ahead(lambda: iter(()), 3)) == []


def test_no_more_is_read_than_needed_ahead(spare: bool) -> None:
    drawn: list[int] = []
    batches = read_ahead(lambda: numbers(100, drawn), 2)
    next(batches)
    time.sleep(0.3)
    # One is taken; with a core to spare so many wait, and one waits to be handed over.
    assert len(drawn) <= 2 * (1 + BATCHES_AHEAD + 1 if spare else BATCHES_AT_ONCE)
    assert len(readers()) == spare
    batches.close()  # type: ignore[attr-defined]
    assert not readers()


@pytest.mark.usefixtures("spare")
def test_an_error_is_raised_as_what_it_was_after_the_batches_before_it() -> None:
    def failing() -> Iterator[np.ndarray]:
        yield from (np.zeros(2), np.ones(2))
        raise ShardError(Path("a.nc"), "is damaged", "Build it again")

    batches = read_ahead(failing, 1)
    assert [float(next(batches).numpy()[0, 0]) for _ in range(2)] == [0.0, 1.0]
    with pytest.raises(ShardError, match="a.nc: is damaged"):
        next(batches)
    assert not readers()


@pytest.mark.usefixtures("spare")
def test_a_batch_that_was_handed_over_does_not_change() -> None:
    batches = read_ahead(lambda: numbers(8), 2)
    first = next(batches)
    kept = first["field"].numpy().copy()
    rest = list(batches)
    assert len(rest) == 3
    np.testing.assert_array_equal(first["field"].numpy(), kept)


@pytest.mark.parametrize(
    ("cores", "threads", "spare"),
    [
        (1, "", False),
        (2, "", True),
        (2, "1", False),
        (1, "4", False),
        (8, "2", True),
        (2, "0", True),
    ],
)
def test_a_rank_that_computes_on_one_core_has_none_to_spare(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: str, spare: bool
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda _: [])
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", threads)
    assert core_to_spare() == spare


def test_another_device_leaves_the_core_to_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [kind])
    assert core_to_spare()
