"""Made-up rain that moves, grows and decays, with a radar-like spectrum, for tests and scaling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.grid import Grid
from hvd_nowcast.shards.convert.source import Field, FrameSource
from hvd_nowcast.shards.schema import Packing

STEP_SECONDS = 300
# Amplitude falls as wavenumber to this power; the power spectrum then falls about as k**-2.6.
SPECTRAL_SLOPE = -1.8
WET_SHARE = 0.2
GROWTH_PERIOD = 36


def synthetic_source(
    frames: int,
    shape: tuple[int, int] = (256, 256),
    seed: int = 0,
    sequences: int = 1,
    disc: bool = False,
) -> FrameSource:
    """Make a source of synthetic rain.

    Three random fields with a power-law spectrum blend into each other and are carried along by a
    constant wind; what stands above a threshold is rain. Each frame is computed on its own, so
    the archive may have any length.

    Parameters
    ----------
    frames
        Number of frames.
    shape
        Rows and columns.
    seed
        The same seed gives the same rain.
    sequences
        Number of equal sequences, with a gap of an hour between them.
    disc
        Mark pixels outside the largest disc as missing, like a single radar.
    """
    generator = np.random.default_rng(seed)
    fields = np.stack([_random_field(generator, shape) for _ in range(3)])
    speed = generator.uniform(0.5, 2.0, 2) * generator.choice([-1, 1], 2)
    threshold = float(np.quantile(fields[0], 1 - WET_SHARE))
    sequence = (np.arange(frames) * sequences // max(frames, 1)).astype(np.int32)
    seconds = np.arange(frames) * STEP_SECONDS + sequence * 3600
    outside = _outside_disc(shape) if disc else np.zeros(shape, bool)

    def read(number: int) -> Field:
        phase = 2 * np.pi * number / GROWTH_PERIOD
        blend = np.array([1.0, 0.5 * np.sin(phase), 0.5 * np.sin(0.37 * phase + 1.0)])
        still = np.tensordot(blend, fields, 1) / np.linalg.norm(blend)
        moved = _shifted(still, speed * number)
        rain = np.where(moved > threshold, np.expm1(1.6 * (moved - threshold)) + 0.1, 0.0)
        return np.where(outside, np.nan, np.minimum(rain, 200.0)).astype(np.float32)

    rows, columns = shape
    return FrameSource(
        "rain_rate",
        Packing("uint16", 0.01, 0.0, 65535),
        Grid((np.arange(columns) + 0.5) * 1000.0, (rows - np.arange(rows) - 0.5) * 1000.0),
        np.datetime64("2000-01-01T00:00:00", "s") + seconds.astype("timedelta64[s]"),
        sequence,
        read,
        [Path("synthetic")] * frames,
        {"title": "Synthetic rain", "source": f"seed {seed}"},
    )


def _random_field(generator: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    wavenumber = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    wavenumber[0, 0] = np.inf
    spectrum = np.fft.rfft2(generator.standard_normal(shape)) * wavenumber**SPECTRAL_SLOPE
    field = np.fft.irfft2(spectrum, shape)
    return (field - field.mean()) / field.std()


def _shifted(field: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The field moved by a whole and a fractional number of pixels, round the edges."""
    whole = np.floor(distance).astype(int)
    y, x = distance - whole
    base = np.roll(field, tuple(whole), (0, 1))
    below, beside = np.roll(base, 1, 0), np.roll(base, 1, 1)
    corner = np.roll(below, 1, 1)
    return (1 - y) * (1 - x) * base + y * (1 - x) * below + (1 - y) * x * beside + y * x * corner


def _outside_disc(shape: tuple[int, int]) -> NDArray[np.bool_]:
    y, x = (np.arange(size) - (size - 1) / 2 for size in shape)
    return np.hypot(y[:, None], x[None, :]) > min(shape) / 2
