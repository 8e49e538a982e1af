from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from hvd_nowcast.config import BalanceSection
from hvd_nowcast.errors import ConfigError
from hvd_nowcast.parallel.communicator import Communicator, SingleProcess
from hvd_nowcast.parallel.probe import RankProbe, fit_line, last_size, probe_ranks, probe_sizes
from hvd_nowcast.training.sharing import Sharing, describe_plan, start_sharing


class Ranks(SingleProcess):
    """Rank 0 of several whose answers are given."""

    def __init__(self, answers: list[Any]) -> None:
        self.size = len(answers)
        self.answers = answers

    def gather(self, value: Any) -> list[Any]:
        return self.answers


def probes(*speeds: float, spread: float = 0.01, fixed: float = 0.0) -> list[RankProbe]:
    return [RankProbe(f"node{i}", "CPU", fixed, 1 / v, spread) for i, v in enumerate(speeds)]


def never() -> list[RankProbe]:
    raise AssertionError("nothing to measure")


def start(section: BalanceSection, ranks: int, found: list[RankProbe] | None = None) -> Sharing:
    communicator: Communicator = Ranks([None] * ranks)
    probe = never if found is None else lambda: found
    return start_sharing(section, 16, communicator, [], 0, probe)


def test_equal_and_manual_measure_nothing() -> None:
    assert start(BalanceSection(), 3).shares == [6, 5, 5]
    manual = BalanceSection("manual", (10, 0, 6))
    assert start(manual, 3).shares == [10, 0, 6]
    with pytest.raises(ConfigError, match="has 3 numbers, but there are 2 ranks"):
        start(manual, 2)


def test_static_follows_the_probe(capsys: pytest.CaptureFixture[str]) -> None:
    assert start(BalanceSection("static"), 2, probes(30, 10)).shares == [12, 4]
    said = capsys.readouterr().err
    assert "node1" in said
    assert "gain over equal shares 2.00 times" in said


def test_a_small_difference_changes_nothing() -> None:
    assert start(BalanceSection("static"), 2, probes(10.5, 10)).shares == [8, 8]


def test_a_poor_probe_falls_back_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert start(BalanceSection("static"), 2, probes(30, 10, spread=0.6)).shares == [8, 8]
    assert "equal shares: the times of rank 0 on node0 stray by 60%" in capsys.readouterr().err


def test_a_resume_goes_on_with_the_shares_of_the_checkpoint() -> None:
    history = [{"step": 0, "shares": [8, 8]}, {"step": 40, "shares": [13, 3]}]
    two, three = Ranks([None] * 2), Ranks([None] * 3)
    static = BalanceSection("static")
    assert start_sharing(static, 16, two, history, 50, never).shares == [13, 3]
    moved = start_sharing(static, 16, three, history, 50, lambda: probes(10, 10, 12))
    assert sum(moved.shares) == 16
    assert len(moved.shares) == 3
    assert [entry["step"] for entry in moved.history] == [0, 40, 50]


def test_dynamic_relieves_a_rank_and_gives_its_share_back() -> None:
    sharing = start(BalanceSection("dynamic"), 2, probes(10, 10))
    assert sharing.shares == [8, 8]
    sharing.record(0.8, 1.6)
    # Rank 1 takes twice as long as planned.
    assert sharing.adapt(50, Ranks([[0.8, 1.6, 5], [1.6, 1.6, 7]]))
    assert sharing.shares == [11, 5]
    assert sharing.history[0]["work"] == [0.8, 1.6]
    assert sharing.history[0]["wait"] == pytest.approx([0.8, 0.0])
    assert sharing.history[0]["sent"] == [5, 7]
    sharing.record(1.1, 1.1)
    assert sharing.adapt(100, Ranks([[1.1, 1.1, 0], [0.5, 1.1, 0]]))
    assert sharing.shares == [8, 8]
    sharing.record(0.8, 0.8)
    assert not sharing.adapt(150, Ranks([[0.8, 0.8, 0], [0.85, 0.85, 0]]))


def test_dynamic_leaves_nobody_without_a_sample() -> None:
    assert start(BalanceSection("dynamic"), 2, probes(100, 1)).shares == [15, 1]
    assert start(BalanceSection("static"), 2, probes(100, 1)).shares == [16, 0]


def test_no_step_has_a_negative_fixed_cost() -> None:
    fixed, slope, spread = fit_line({4: 0.4, 8: 0.85, 12: 1.4})
    assert (fixed, slope) == (0.0, pytest.approx(0.85 / 8))
    assert spread < 0.1


@pytest.mark.parametrize(("fixed", "slope"), [(0.0, 0.1), (0.5, 0.02)])
def test_a_line_is_found_again(fixed: float, slope: float) -> None:
    times = {size: fixed + slope * size for size in (2, 4, 8)}
    found = fit_line(times)
    assert found == pytest.approx((fixed, slope, 0.0), abs=1e-9)


def test_one_outlier_does_not_turn_the_line() -> None:
    times = {size: 0.1 + 0.02 * size for size in (2, 4, 6, 8)}
    _, slope, spread = fit_line({**times, 4: times[4] + 1.0})
    assert slope == pytest.approx(0.02, rel=0.3)
    assert spread > 0.25


class Steps:
    """Steps that take a time a sample, after a slow first one, up to a number of samples."""

    def __init__(self, per_sample: float, fixed: float = 0.0, fits: int = 99) -> None:
        self.per_sample, self.fixed, self.fits = per_sample, fixed, fits
        self.taken: dict[int, list[float]] = {}

    def __call__(self, samples: int) -> Generator[float, None, None]:
        if samples > self.fits:
            raise MemoryError
        taken = self.taken.setdefault(samples, [])
        while True:
            seconds = self.fixed + self.per_sample * samples
            taken.append(seconds if taken else 2 * seconds)
            yield taken[-1]


class Beside(SingleProcess):
    """Rank 0 beside others of given speeds, which find what it finds."""

    def __init__(self, *speeds: float) -> None:
        self.size = 1 + len(speeds)
        self.speeds = speeds

    def gather(self, value: Any) -> list[Any]:
        if isinstance(value, float):
            return [value, *self.speeds]
        return [value, *({**value, "host": "other"} for _ in self.speeds)]


def test_the_probe_drops_the_first_step_and_asks_every_rank() -> None:
    steps = Steps(0.031)
    first, second = probe_ranks(Beside(1 / 0.031), "CPU", steps, 16)
    # As many as take 1.8 seconds, and the one that is dropped.
    assert {size: len(taken) for size, taken in steps.taken.items()} == {4: 15, 8: 8, 12: 5}
    assert first.per_sample == pytest.approx(0.031)
    assert (first.good, second.host) == (True, "other")


@pytest.mark.parametrize(
    ("speed", "sizes"), [(40, [4, 8, 3]), (2.5, [4, 8, 13]), (999, [4, 8, 12])]
)
def test_a_rank_is_measured_about_where_its_share_will_be(speed: float, sizes: list[int]) -> None:
    steps = Steps(0.1)
    probe_ranks(Beside(speed), "CPU", steps, 16)
    assert list(steps.taken) == sizes


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 7, 16])
def test_sizes_differ_and_lie_within_the_batch(batch: int, ranks: int) -> None:
    first = probe_sizes(batch, ranks)
    assert len(first) == 2 and 0 < first[0] < first[1] <= max(2, batch)
    assert all(0 < last_size(rank, [1.0] * ranks, batch) <= batch for rank in range(ranks))


@pytest.mark.parametrize("fixed", [0.0, 0.1])
@pytest.mark.parametrize("per_sample", [1e-6, 0.02, 0.05, 0.1, 0.15, 0.17])
def test_a_probe_takes_ten_seconds_at_most(fixed: float, per_sample: float) -> None:
    steps = Steps(per_sample, fixed)
    found, _ = probe_ranks(Beside(8 / (fixed + 8 * per_sample)), "CPU", steps, 16)
    assert list(steps.taken) == [4, 8, 12]
    first = sum(taken[0] / 2 for taken in steps.taken.values())
    assert sum(sum(taken) for taken in steps.taken.values()) - first <= 10
    assert max(len(taken) for taken in steps.taken.values()) <= 61
    assert found.fixed == pytest.approx(fixed)
    assert found.per_sample == pytest.approx(per_sample)


def test_of_very_long_steps_one_of_each_size_is_timed() -> None:
    steps = Steps(2.0)
    probe_ranks(Beside(0.5), "CPU", steps, 16)
    assert {size: len(taken) for size, taken in steps.taken.items()} == {4: 2, 8: 2, 12: 2}


def test_a_size_that_does_not_fit_becomes_the_cap() -> None:
    found, _ = probe_ranks(Beside(10.0), "GPU", Steps(0.1, fits=8), 16)
    assert (found.cap, found.cost.cap) == (8, 8)
    assert found.per_sample == pytest.approx(0.1)
    small, _ = probe_ranks(Beside(10.0), "GPU", Steps(0.1, fits=8), 32)
    assert (small.cap, small.per_sample) == (8, pytest.approx(0.1))
    with pytest.raises(MemoryError):
        probe_ranks(Beside(10.0), "GPU", Steps(0.1, fits=7), 32)


def test_the_table_names_every_rank() -> None:
    text = describe_plan(probes(20, 10, 5, fixed=0.1), [9, 5, 2])
    assert all(f"node{i}" in text for i in range(3))
    assert "ceiling is 2.33" in text
