"""The worst starts: what is recorded of a start, and which are chosen."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hvd_nowcast.verification.evaluation import Evaluation, Setting
from hvd_nowcast.verification.example import Example
from hvd_nowcast.verification.failures import StartRecord, recorded_leads, worst_starts

THRESHOLDS = (0.1, 1.0)


def time(hour: int) -> np.datetime64:
    return np.datetime64("2020-06-01T00:00:00") + np.timedelta64(hour, "h")


def record(
    hour: int, model: float, other: float | None = None, event_share: float = 0.1
) -> StartRecord:
    csi: dict[str, list[float | None]] = {"model": [0.9, model]}
    csi |= {} if other is None else {"optical_flow": [0.1, other]}
    return StartRecord(time(hour), 0.5, event_share, csi)


def example(hour: int, hits: int, *sources: str) -> Example:
    """Rain in the first ten of a hundred pixels; of it the model forecasts some, others all."""
    observed = np.zeros((3, 10, 10))
    observed[:, 0] = 2.0
    model = observed.copy()
    model[-1, 0, hits:] = 0.0
    forecasts = {"model": model} | {source: observed.copy() for source in sources}
    return Example(time(hour), observed[0], observed, forecasts, 30)


def test_a_start_by_hand() -> None:
    start = example(0, 4, "persistence", "optical_flow")
    start.observed[-1, 5:] = np.nan
    found = StartRecord.of(start, THRESHOLDS)
    assert found.csi == {"model": [1.0, 0.4], "optical_flow": [1.0, 1.0]}
    assert found.event_share == 10 / 50
    assert found.wet_share == 30 / 250
    assert found.margin == pytest.approx(-0.6)
    assert StartRecord.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_without_optical_flow_persistence_is_the_other() -> None:
    assert list(StartRecord.of(example(0, 4, "persistence"), THRESHOLDS).csi)[1] == "persistence"


@pytest.mark.parametrize(("leads", "expected"), [(12, [5, 11]), (3, [1, 2]), (1, [0])])
def test_the_middle_and_the_last_lead_time(leads: int, expected: list[int]) -> None:
    assert recorded_leads(leads) == expected


def test_worst_is_furthest_behind_where_there_is_enough_to_tell() -> None:
    records = [
        record(0, 0.5, 0.4),
        record(1, 0.3, 0.6),
        record(2, 0.0, 0.05),
        record(3, 0.0, 0.9, event_share=0.009),
        record(4, 0.0),
    ]
    # Hour 2 has the least ratio, 3 too few events, 4 no other source.
    assert [r.start for r in worst_starts(records)] == [time(1), time(2), time(0)]
    assert worst_starts(records, 1) == [records[1]]
    assert worst_starts(records[3:]) == []


def test_only_the_worst_start_is_kept_whole() -> None:
    setting = Setting("rain_rate", "mm h-1", THRESHOLDS, (5.0, 10.0, 15.0), 1000.0, (10, 10), 0.1)
    nothing = Evaluation.zero(setting, "test", ("model",), spectra=False)
    one = nothing.with_start(example(0, 8, "optical_flow"))
    two = one.with_start(example(1, 2, "optical_flow")).with_start(example(2, 9, "optical_flow"))
    worse = nothing.with_start(example(3, 1, "optical_flow"))
    kept = [evaluation.worst for evaluation in (one, two, two + worse, worse + two)]
    assert [found.start if found else None for found in kept] == [time(h) for h in (0, 1, 3, 3)]
    assert nothing.with_start(example(0, 8)).worst is None
    assert [start["start"][11:13] for start in (two + worse).to_json()["worst"]["starts"]] == [
        "03", "01", "00", "02",
    ]  # fmt: skip
