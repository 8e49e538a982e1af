"""Reading ahead: order, sizes, errors, and a reader that nobody wants any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvd_nowcast.errors import ShardError
from hvd_nowcast.loader.read_ahead import BATCHES_AHEAD, read_ahead


def numbers(count: int, drawn: list[int] | None = None) -> Iterator[dict[str, Any]]:
    for number in range(count):
        if drawn is not None:
            drawn.append(number)
        yield {"field": np.full((2, 3), number, np.uint16), "number": np.int32(number)}


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "read ahead"]


def test_batches_come_in_order_and_the_last_may_be_smaller() -> None:
    batches = list(read_ahead(lambda: numbers(7), 3))
    assert [batch["number"].numpy().tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert batches[0]["field"].dtype == "uint16"
    assert batches[2]["field"].shape == (1, 2, 3)
    assert (batches[1]["field"].numpy() == np.array([3, 4, 5])[:, None, None]).all()
    assert not readers()
    assert list(read_ahead(lambda: iter(()), 3)) == []


def test_no_more_is_read_than_needed_ahead() -> None:
    drawn: list[int] = []
    batches = read_ahead(lambda: numbers(100, drawn), 2)
    next(batches)
    time.sleep(0.3)
    # One is taken, so many wait, and one waits to be handed over.
    assert len(drawn) <= 2 * (1 + BATCHES_AHEAD + 1)
    batches.close()  # type: ignore[attr-defined]
    assert not readers()


def test_an_error_is_raised_as_what_it_was_after_the_batches_before_it() -> None:
    def failing() -> Iterator[np.ndarray]:
        yield from (np.zeros(2), np.ones(2))
        raise ShardError(Path("a.nc"), "is damaged", "Build it again")

    batches = read_ahead(failing, 1)
    assert [float(next(batches).numpy()[0, 0]) for _ in range(2)] == [0.0, 1.0]
    with pytest.raises(ShardError, match="a.nc: is damaged"):
        next(batches)
    assert not readers()


def test_a_batch_that_was_handed_over_does_not_change() -> None:
    batches = read_ahead(lambda: numbers(8), 2)
    first = next(batches)
    kept = first["field"].numpy().copy()
    rest = list(batches)
    assert len(rest) == 3
    np.testing.assert_array_equal(first["field"].numpy(), kept)
