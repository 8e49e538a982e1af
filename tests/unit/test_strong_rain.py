"""Strong rain brought back: the likeliest pixels take the rates there are, none is weakened."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hvd_nowcast.config import ModelSection
from hvd_nowcast.errors import ConfigError
from hvd_nowcast.nowcast.strong_rain import DRY, STRONG, WEAK, restore_strong_rain

KNOWN = np.ones((40, 50), bool)


def rain(seed: int, scale: float) -> NDArray[np.float32]:
    """A wet fifth of the pixels, of exponential rates."""
    generator = np.random.default_rng(seed)
    rates = generator.exponential(scale, (2, *KNOWN.shape)) * (generator.random(KNOWN.shape) < 0.2)
    return rates.astype(np.float32)


def test_the_likeliest_take_the_rates_that_are_there() -> None:
    forecast, moved = rain(0, 1), rain(1, 4)
    full = restore_strong_rain(forecast, moved, KNOWN, 1)
    for before, after, there in zip(forecast, full, moved, strict=True):
        strongest = np.sort(there[there >= 5])
        likely = np.argsort(np.where(before >= DRY, before + there, 0), axis=None)
        found = after.ravel()[likely[-len(strongest) :]]
        np.testing.assert_allclose(
            found, np.maximum(strongest, before.ravel()[likely[-len(strongest) :]]), rtol=1e-6
        )
    assert (full >= forecast).all()


def test_less_and_less_is_brought_back() -> None:
    forecast, moved = rain(0, 1), rain(1, 4)
    full, less = (restore_strong_rain(forecast, moved, KNOWN, share) for share in (1, 0.3))
    np.testing.assert_array_equal(less[0], full[0])
    part = forecast[1] + 0.3 * (full - forecast)[1]
    expected = np.where(full[1] >= STRONG, np.maximum(part, STRONG), part)
    assert (expected > part).any()
    np.testing.assert_allclose(less[1], expected, rtol=1e-5)


def test_strong_rain_is_found_as_often_whatever_share_is_brought_back() -> None:
    forecast, moved = rain(0, 1), rain(1, 4)
    full, less = (restore_strong_rain(forecast, moved, KNOWN, share) for share in (1, 0.3))
    np.testing.assert_array_equal(less >= STRONG, full >= STRONG)
    assert less.sum() < full.sum()


def test_weak_rain_and_dry_pixels_stay() -> None:
    forecast = rain(0, 1)
    weak = np.minimum(rain(1, 4), np.float32(WEAK))
    np.testing.assert_array_equal(restore_strong_rain(forecast, weak, KNOWN, 1), forecast)
    dry = np.full_like(forecast, DRY / 2)
    np.testing.assert_array_equal(restore_strong_rain(dry, rain(1, 4), KNOWN, 1), dry)


def test_only_what_the_radar_sees_counts() -> None:
    forecast, moved, known = rain(0, 1), rain(1, 4), KNOWN.copy()
    known[:, 25:] = False
    forecast[:, :, 25:] = 50
    moved[:, :, 25:] = 90
    found = restore_strong_rain(forecast, moved, known, 1)
    assert (found[:, :, 25:] == 50).all()
    # As if there were no more than that.
    part = restore_strong_rain(forecast[..., :25], moved[..., :25], known[:, :25], 1)
    np.testing.assert_array_equal(found[..., :25], part)


def test_what_comes_from_outside_is_not_known() -> None:
    forecast, moved = np.full((2, *KNOWN.shape), 1, np.float32), rain(1, 4)
    moved[moved > 0] = 9
    moved[:, :10] = np.nan
    found = restore_strong_rain(forecast, moved, KNOWN, 1)
    assert np.isfinite(found).all()
    # The same part of the whole is strong as of what is known, and three quarters of the way.
    raised = found > 1
    for strong, there in zip(raised, moved[:, 10:], strict=True):
        assert strong.mean() == pytest.approx((there > 0).mean(), abs=0.005)
    np.testing.assert_allclose(found[raised], 1 + 0.75 * 8)


def test_too_little_to_compare_with_changes_nothing() -> None:
    forecast, moved = rain(0, 1), np.full((2, *KNOWN.shape), np.nan, np.float32)
    moved[:, 0, :5] = 80
    np.testing.assert_array_equal(restore_strong_rain(forecast, moved, KNOWN, 1), forecast)
    none = moved[:0]
    np.testing.assert_array_equal(restore_strong_rain(forecast, none, KNOWN, 0), forecast)


@pytest.mark.parametrize("wrong", [{"advection": False}, {"noise": 2}, {"strong_rain": 1.5}])
def test_what_it_needs_is_told(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="strong_rain"):
        ModelSection(**{"advection": True, "strong_rain": 0.5, **wrong})
