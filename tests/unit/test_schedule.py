from __future__ import annotations

import pytest

from hvd_nowcast.config import OptimiserSection
from hvd_nowcast.training.schedule import learning_rate

SECTION = OptimiserSection(learning_rate=1e-3, reference_batch=8, warmup_steps=10)


def test_warm_up_is_linear_and_ends_at_the_peak() -> None:
    rates = [learning_rate(SECTION, step, 100, 8) for step in range(10)]
    assert rates == pytest.approx([1e-4 * (step + 1) for step in range(10)])


def test_peak_scales_with_the_batch_and_warm_up_starts_unscaled() -> None:
    assert learning_rate(SECTION, 10, 100, 32) == pytest.approx(4e-3)
    assert learning_rate(SECTION, 0, 100, 32) == pytest.approx(1e-3 + 3e-3 / 10)
    assert learning_rate(SECTION, 10, 100, 4) == pytest.approx(0.5e-3)


def test_cosine_is_half_way_down_in_the_middle_and_zero_at_the_end() -> None:
    assert learning_rate(SECTION, 55, 100, 8) == pytest.approx(0.5e-3)
    assert learning_rate(SECTION, 100, 100, 8) == pytest.approx(0.0, abs=1e-12)


def test_no_decay_stays_at_the_peak() -> None:
    section = OptimiserSection(decay="none", warmup_steps=0)
    assert {learning_rate(section, step, 9, 8) for step in range(9)} == {1e-3}


def test_warm_up_in_epochs_follows_the_archive() -> None:
    section = OptimiserSection(learning_rate=1e-3, reference_batch=8, warmup_epochs=2.0)
    rates = [learning_rate(section, step, 100, 8, epoch_steps=5) for step in range(10)]
    assert rates == pytest.approx([1e-4 * (step + 1) for step in range(10)])


def test_plateaus_lower_the_rate() -> None:
    section = OptimiserSection(decay="plateau", warmup_steps=0, plateau_factor=0.5)
    rates = [learning_rate(section, 50, 100, 8, plateaus=count) for count in range(3)]
    assert rates == pytest.approx([1e-3, 0.5e-3, 0.25e-3])
