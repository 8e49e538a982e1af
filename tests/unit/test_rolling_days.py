"""The days of the rolling evaluation: each is tested once, by a network that never saw it."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from hvd_nowcast.shards.split import SPLITS, parse_split

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TIMES = np.datetime64("2018-05-10", "s") + np.arange(7 * 288).astype("timedelta64[s]") * 300


def test_a_day_left_out_is_tested_and_all_others_are_learnt_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    rolling_days = importlib.import_module("rolling_days")
    for number, day in enumerate(rolling_days.DAYS[:-1]):
        rule = parse_split(rolling_days.split_without(day))
        where = rule.assign(TIMES, np.zeros(len(TIMES), np.int32), False).reshape(7, 288)
        assert (where[number] == SPLITS.index("test")).all()
        others = np.delete(where, number, 0)
        assert (others[:-1] == SPLITS.index("train")).all()
        held = others[-1] == SPLITS.index("validation")
        assert held.tolist() == [False] * 216 + [True] * 72
        assert (others[-1, :216] == SPLITS.index("train")).all()
