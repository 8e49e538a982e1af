"""Which frames are for training, validation and test."""

from __future__ import annotations

import numpy as np
import pytest

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.shards.split import DROPPED, parse_split

DAY = np.datetime64("2018-05-10", "s")
TIMES = DAY + np.arange(0, 96, 12).astype("timedelta64[h]")
SEQUENCE = np.zeros(len(TIMES), np.int32)


def test_a_split_may_have_several_ranges() -> None:
    rule = parse_split(
        "train=2018-05-10:2018-05-11,train=2018-05-12:2018-05-13,test=2018-05-11:2018-05-11T12:00"
    )
    found = rule.assign(TIMES, SEQUENCE, False).tolist()
    assert found == [0, 0, 2, DROPPED, 0, 0, DROPPED, DROPPED]


def test_shares_are_taken_in_time_order() -> None:
    rule = parse_split("train=0.5,validation=0.25,test=0.25")
    assert rule.assign(TIMES, SEQUENCE, False).tolist() == [0, 0, 0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("train=2018-05-10:2018-05-12,train=2018-05-11:2018-05-13", "overlap"),
        ("train=2018-05-12:2018-05-10", "ends before it starts"),
        ("train=2018-05-12", "no start:end"),
        ("train=0.5,train=0.2", "two shares"),
        ("train=0.9,test=0.2", "at most 1"),
        ("training=1", "expected train, validation, test, got training"),
    ],
)
def test_a_split_that_cannot_be_is_told(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_split(text)
