"""Sharpness: the power of a forecast over that observed, by wavelength."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hvd_nowcast.verification.spectrum import SpectrumSums, power_ratios

pytest.importorskip("pysteps")


def ratios(
    forecast: np.ndarray,  # type: ignore[type-arg]
    observed: np.ndarray,  # type: ignore[type-arg]
    spacing: float = 1.0,
) -> dict[str, list[float | None]]:
    zero = SpectrumSums.zero([0, 1], (observed.shape[1], observed.shape[2]), None)
    ours, seen = zero.update(forecast, observed), zero.update(observed, observed)
    return power_ratios(ours, seen, spacing)


def test_half_the_amplitude_is_a_quarter_of_the_power() -> None:
    observed = np.random.default_rng(0).random((2, 130, 140))
    found = ratios(0.5 * observed, observed)
    assert list(found) == ["4km", "8km", "16km", "32km", "64km"]
    assert found == {length: pytest.approx([0.25, 0.25]) for length in found}


def test_a_wave_is_found_at_its_length_and_blur_takes_the_short_ones() -> None:
    noise = np.random.default_rng(0).random((2, 128, 128))
    wave = 5.0 * np.sin(2 * np.pi * np.arange(128) / 8.0)
    found = {key: values[0] or 0.0 for key, values in ratios(noise + wave, noise).items()}
    assert found.pop("8km") > 100
    assert max(found.values()) < 2
    blurred = np.stack([gaussian_filter(frame, 2.0) for frame in noise])
    sharpness = [values[0] or 0.0 for values in ratios(blurred, noise).values()]
    assert sharpness == sorted(sharpness)
    assert sharpness[0] < 0.01 < 0.5 < sharpness[-1]


@pytest.mark.parametrize(
    ("side", "spacing", "expected"),
    [
        (64, 1.0, ["4km", "8km", "16km", "32km"]),
        (64, 3.0, ["8km", "16km", "32km", "64km"]),
        (6, 1.0, []),
    ],
)
def test_wavelengths_that_pixels_and_frame_allow(
    side: int, spacing: float, expected: list[str]
) -> None:
    field = np.random.default_rng(0).random((2, side, side))
    assert list(ratios(field, field, spacing)) == expected


def test_nothing_observed_has_no_ratio() -> None:
    dry = np.zeros((2, 32, 32))
    assert ratios(dry + 1.0, dry) == {key: [None, None] for key in ("4km", "8km", "16km")}
