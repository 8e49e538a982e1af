"""Random fields that make one member of an ensemble differ from another."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.optional import import_optional
from hvd_nowcast.shards.schema import Codes

# Pixels; noise of longer waves would be the same all over a training square.
LONGEST_WAVE = 64.0

Floats = NDArray[np.float32]


def correlated_noise(generator: np.random.Generator, fields: int, shape: tuple[int, int]) -> Floats:
    """Standard normal fields in which each octave of wavelengths has the same variance.

    A network that sees them finds noise at every scale at which rain is uncertain, in frames of
    any size.

    Parameters
    ----------
    generator
        All the randomness there is.
    fields
        How many.
    shape
        Rows and columns.

    Returns
    -------
    numpy.ndarray
        Shape (fields, y, x).
    """
    fft = _scipy("fft")
    white = fft.rfft2(generator.standard_normal((fields, *shape), np.float32))
    noise: Floats = fft.irfft2(white * _amplitude(*shape), shape).astype(np.float32)
    return noise


@lru_cache(maxsize=8)
def _amplitude(rows: int, columns: int) -> Floats:
    """Amplitude of each wave of a real transform, with a mean square of 1 over all waves."""
    waves = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns))
    amplitude = 1.0 / np.maximum(waves, 1.0 / LONGEST_WAVE)
    amplitude /= np.sqrt(np.mean(amplitude**2))
    return amplitude[:, : columns // 2 + 1].astype(np.float32)


def noise_codes(noise: Floats, dtype: str) -> Codes:
    """Noise as whole numbers, so that it travels with the frames: equal shares of the normal.

    Parameters
    ----------
    noise
        Standard normal values.
    dtype
        ``uint8`` or ``uint16``.
    """
    levels = np.iinfo(dtype).max + 1
    codes: Codes = np.minimum(_scipy("special").ndtr(noise) * levels, levels - 1).astype(dtype)
    return codes


def noise_table(dtype: str) -> Floats:
    """Standard normal value of every code, shape (256,) or (65536,)."""
    levels = np.iinfo(dtype).max + 1
    middles = (np.arange(levels) + 0.5) / levels
    values: Floats = _scipy("special").ndtri(middles).astype(np.float32)
    return values


def _scipy(part: str) -> Any:
    return import_optional(f"scipy.{part}", "a model with noise needs SciPy", "scipy")
