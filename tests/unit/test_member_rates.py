"""Rates of members: those of the rain there is, by rank, without noise from pixel to pixel."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hvd_nowcast.nowcast import member_rates
from hvd_nowcast.nowcast.member_rates import give_rates, sorted_rates

pytest.importorskip("scipy", reason="SciPy is not installed: launch/setup.sh brings it")

KNOWN = np.ones((60, 80), bool)
WET = 0.1
# How far from rain a dry pixel is does not count below this.
NEARLY_DRY = 1.01 * member_rates.DRIEST * WET


def rain(seed: int, scale: float, leads: int = 3) -> NDArray[np.float32]:
    """A wet third of the pixels, of exponential rates."""
    generator = np.random.default_rng(seed)
    wet = generator.random(KNOWN.shape) < 0.33
    return (generator.exponential(scale, (leads, *KNOWN.shape)) * wet).astype(np.float32)


def given(
    member: NDArray[np.float32], moved: NDArray[np.float32], known: NDArray[np.bool_] = KNOWN
) -> NDArray[np.float32]:
    return give_rates(member, sorted_rates(moved, known), known, WET)


def test_the_rain_takes_the_rates_there_are_by_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_rates, "SMOOTHING", 0.0)
    member, moved = rain(0, 1), rain(1, 4)
    for before, after, there in zip(member, given(member, moved), moved, strict=True):
        wet = before >= member_rates.DRY * WET
        np.testing.assert_array_equal(np.argsort(-before[wet]), np.argsort(-after[wet]))
        expected = np.sort(there, axis=None)[::-1][: np.count_nonzero(wet)]
        np.testing.assert_allclose(np.sort(after[wet])[::-1], expected, rtol=1e-6)
        np.testing.assert_allclose(after[~wet], before[~wet], atol=NEARLY_DRY)


def test_a_member_may_have_more_rain_than_the_network_drew_but_none_where_it_is_dry() -> None:
    member = np.full((1, *KNOWN.shape), WET / 2, np.float32)
    member[..., :40] = 0
    found = given(member, np.full_like(member, 3))
    np.testing.assert_allclose(found[..., 45:], 3)
    assert (found[..., :35] < WET).all()


def test_noise_from_pixel_to_pixel_is_smoothed_away_and_showers_stay() -> None:
    rows, columns = np.indices(KNOWN.shape)
    shower = 5 * np.exp(-((rows - 30) ** 2 + (columns - 40) ** 2) / 50)
    noise = np.where((rows + columns) % 2, 2.0, 0.5)
    member = (shower * noise)[None].astype(np.float32)
    # Too little is known to take rates from, so what is smoothed is all that changes.
    found = given(member, np.full_like(member, np.nan))
    inside = shower > 1
    np.testing.assert_allclose(found[0][inside], shower[inside], rtol=0.1)


def test_rates_count_as_far_as_rain_is_known() -> None:
    member, moved = np.ones((1, *KNOWN.shape), np.float32), np.full((1, *KNOWN.shape), 9.0)
    moved[..., :20] = np.nan
    np.testing.assert_allclose(given(member, moved.astype(np.float32)), 1 + 0.75 * 8)


def test_only_what_the_radar_sees_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_rates, "SMOOTHING", 0.0)
    member, moved, known = rain(0, 1), rain(1, 4), KNOWN.copy()
    known[:, 40:] = False
    moved[..., 40:] = 90
    found = given(member, moved, known)
    np.testing.assert_allclose(found[..., 40:], member[..., 40:], rtol=1e-6, atol=NEARLY_DRY)
    assert found.max() <= moved[..., :40].max()


def test_without_moved_frames_or_rain_nothing_changes() -> None:
    member = rain(0, 1)
    np.testing.assert_array_equal(given(member, member[:0]), member)
    dry = np.full_like(member, WET / 20)
    np.testing.assert_allclose(given(dry, rain(1, 4)), dry, rtol=1e-6)
