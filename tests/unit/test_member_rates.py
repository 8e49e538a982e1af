"""Rates of members: those of the rain there is, by rank, with a texture that grows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hvd_nowcast.nowcast import member_rates
from hvd_nowcast.nowcast.member_rates import give_rates, sorted_rates

pytest.importorskip("scipy", reason="SciPy is not installed: launch/setup.sh brings it")

KNOWN = np.ones((60, 80), bool)
WET = 0.1


def rain(seed: int, scale: float, leads: int = 3) -> NDArray[np.float32]:
    """A wet third of the pixels, of exponential rates."""
    generator = np.random.default_rng(seed)
    wet = generator.random(KNOWN.shape) < 0.33
    return (generator.exponential(scale, (leads, *KNOWN.shape)) * wet).astype(np.float32)


def given(
    member: NDArray[np.float32], moved: NDArray[np.float32], known: NDArray[np.bool_] = KNOWN
) -> NDArray[np.float32]:
    return give_rates(member, sorted_rates(moved, known), known, WET, np.random.default_rng(7))


def test_the_rain_takes_the_rates_there_are_by_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_rates, "TEXTURE", 0.0)
    member, moved = rain(0, 1), rain(1, 4)
    for before, after, there in zip(member, given(member, moved), moved, strict=True):
        wet = before >= WET
        np.testing.assert_array_equal(np.argsort(-before[wet]), np.argsort(-after[wet]))
        expected = np.sort(there, axis=None)[::-1][: np.count_nonzero(wet)]
        np.testing.assert_allclose(np.sort(after[wet])[::-1], expected, rtol=1e-6)
        np.testing.assert_array_equal(after[~wet], before[~wet])


def test_the_texture_grows_with_the_lead_time_and_draws_differ() -> None:
    member = np.ones((3, 240, 320), np.float32)
    nowhere, known = np.full_like(member, np.nan), np.ones((240, 320), bool)
    # Too little is known to take rates from, so the noise is all there is.
    found = given(member, nowhere, known)
    deviation = np.log(found).std((1, 2))
    np.testing.assert_allclose(deviation, member_rates.TEXTURE * np.array([1, 2, 3]) / 3, rtol=0.1)
    np.testing.assert_allclose(found.mean((1, 2)), 1, atol=0.05)
    there = sorted_rates(nowhere, known)
    other = give_rates(member, there, known, WET, np.random.default_rng(8))
    assert (other != found).all()


def test_rates_count_as_far_as_rain_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_rates, "TEXTURE", 0.0)
    member, moved = np.ones((1, *KNOWN.shape), np.float32), np.full((1, *KNOWN.shape), 9.0)
    moved[..., :20] = np.nan
    np.testing.assert_allclose(given(member, moved.astype(np.float32)), 1 + 0.75 * 8)


def test_only_what_the_radar_sees_counts() -> None:
    member, moved, known = rain(0, 1), rain(1, 4), KNOWN.copy()
    known[:, 40:] = False
    moved[..., 40:] = 90
    found = given(member, moved, known)
    np.testing.assert_array_equal(found[..., 40:], member[..., 40:])
    assert found.max() <= moved[..., :40].max()


def test_without_moved_frames_or_rain_nothing_changes() -> None:
    member = rain(0, 1)
    np.testing.assert_array_equal(given(member, member[:0]), member)
    dry = np.full_like(member, WET / 2)
    np.testing.assert_array_equal(given(dry, rain(1, 4)), dry)
