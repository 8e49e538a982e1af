"""What radar frames tell of a region: how often it rains, how hard, how far, which way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.config import RegionSection
from hvd_nowcast.loader.region import mask_of, slices_of, wet_codes
from hvd_nowcast.regions.similarity import Description
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.reader import CodeReader

Array = NDArray[np.float64]

# Structure and motion change slowly: one pair of frames in half an hour tells them.
LOOK_EVERY = 6
QUANTILES = (0.5, 0.9, 0.99)
# Frames between two that are compared for the memory of rain.
MEMORY_LAGS = (1, 2, 4, 6, 12)
LEAST_WET = 0.02
FRAMES_AT_ONCE = 48
# A fifth of a region's pixels must be seen for its frames to count.
LEAST_SEEN = 0.2
DAY_SECONDS, YEAR_SECONDS = 86_400.0, 31_556_952.0


@dataclass
class _Gathered:
    """Sums over the training frames of one region."""

    counts: NDArray[np.int64]
    wet: list[float] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)
    motions: list[tuple[float, float]] = field(default_factory=list)
    memory: dict[int, list[float]] = field(default_factory=dict)


def describe_radar(
    manifest: Manifest,
    frames: CodeReader,
    regions: Sequence[RegionSection],
    least_samples: int,
    block_hours: float,
) -> list[Description]:
    """Describe regions by the training frames, all in one pass.

    Parameters
    ----------
    manifest, frames
        The archive.
    regions
        Inside its grid.
    least_samples
        Frames that a region needs at least.
    block_hours
        Length of the blocks of the regime.
    """
    table = np.nan_to_num(manifest.packing.table().astype(np.float64))
    wet = wet_codes(manifest)
    gathered = [_Gathered(np.zeros(len(table), np.int64)) for _ in regions]
    masks = [mask_of(region) for region in regions]
    for codes, seconds in _chunks(manifest, frames):
        for region, mask, found in zip(regions, masks, gathered, strict=True):
            rows, columns = slices_of(region)
            part = codes[:, rows, columns]
            _gather(found, part, mask & (part != manifest.packing.fill), seconds, table, wet)
    step = manifest.step_seconds
    km = manifest.grid.spacing / 1000.0
    return [
        _description(region, found, table, wet, step, km, least_samples, block_hours)
        for region, found in zip(regions, gathered, strict=True)
    ]


def rain_density(manifest: Manifest, frames: CodeReader) -> Array:
    """Mean rain of each pixel in the training split, mm h-1, shape (y, x)."""
    table = np.nan_to_num(manifest.packing.table().astype(np.float64))
    total = np.zeros(manifest.grid.shape)
    count = 0
    for codes, _ in _chunks(manifest, frames):
        total += table[codes[::LOOK_EVERY]].sum(0)
        count += len(codes[::LOOK_EVERY])
    return total / max(1, count)


def _chunks(
    manifest: Manifest, frames: CodeReader
) -> Iterator[tuple[NDArray[Any], NDArray[np.float64]]]:
    """Training frames of unbroken sequences with their times in seconds."""
    for entry in manifest.shards:
        for segment in entry.segments if entry.split == "train" else ():
            first = np.datetime64(segment.first_time, "s").astype(np.int64)
            for start in range(0, segment.frames, FRAMES_AT_ONCE):
                count = min(FRAMES_AT_ONCE, segment.frames - start)
                place = segment.start + start
                seconds = first + manifest.step_seconds * np.arange(start, start + count)
                yield frames.read_codes(entry.file, place, place + count), seconds.astype(float)


def _gather(
    found: _Gathered,
    codes: NDArray[Any],
    valid: NDArray[np.bool_],
    seconds: Array,
    table: Array,
    wet: NDArray[np.bool_],
) -> None:
    seen = valid.sum((1, 2))
    keep = seen >= LEAST_SEEN * valid[0].size
    codes, valid, seen = codes[keep], valid[keep], seen[keep]
    if not len(codes):
        return
    found.counts += np.bincount(codes[valid], minlength=len(table))
    rain = np.where(valid, table[codes], 0.0)
    is_wet = wet[codes] & valid
    found.wet += (is_wet.sum((1, 2)) / seen).tolist()
    found.mean += (rain.sum((1, 2)) / seen).tolist()
    found.seconds += seconds[keep].tolist()
    fields = np.log1p(10.0 * rain)
    fractions = is_wet.mean((1, 2))
    for first in range(0, len(fields), LOOK_EVERY):
        if fractions[first] < LEAST_WET:
            continue
        found.lengths.append(decorrelation_length(fields[first]))
        for lag in MEMORY_LAGS:
            if first + lag < len(fields):
                found.memory.setdefault(lag, []).append(
                    correlation(fields[first], fields[first + lag])
                )
        if first + 1 < len(fields) and fractions[first + 1] >= LEAST_WET:
            found.motions.append(displacement(fields[first], fields[first + 1]))


def correlation(first: Array, second: Array) -> float:
    """Pearson's correlation of two fields, 0 where one is constant."""
    a, b = first - first.mean(), second - second.mean()
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / norm) if norm > 0 else 0.0


def decorrelation_length(values: Array) -> float:
    """Pixels over which the autocorrelation of a field falls below 1/e, both ways averaged.

    Found between whole lags by a straight line; a quarter of the side where it never falls so far.
    """
    lengths = []
    for axis in (0, 1):
        most = max(2, values.shape[axis] // 4)
        before, length = 1.0, float(most)
        for lag in range(1, most):
            here = np.take(values, range(values.shape[axis] - lag), axis)
            there = np.take(values, range(lag, values.shape[axis]), axis)
            after = correlation(here, there)
            if after < np.exp(-1):
                length = lag - 1 + (before - np.exp(-1)) / (before - after)
                break
            before = after
        lengths.append(length)
    return float(np.mean(lengths))


def displacement(first: Array, second: Array) -> tuple[float, float]:
    """Rows and columns by which a field has moved, from the peak of the cross-correlation."""
    rows, columns = first.shape
    size = (2 * rows, 2 * columns)
    spectra = [np.fft.rfft2(f - f.mean(), size) for f in (first, second)]
    product = np.fft.irfft2(np.conj(spectra[0]) * spectra[1], size)
    row, column = np.unravel_index(product.argmax(), product.shape)
    return (
        float(row if row < rows else row - 2 * rows),
        float(column if column < columns else column - 2 * columns),
    )


def harmonic(seconds: Array, values: Array, period: float) -> tuple[float, float]:
    """Cosine and sine of a cycle in a series, relative to its mean; 0 without one."""
    mean = values.mean() if len(values) else 0.0
    if mean == 0 or np.ptp(seconds) < period:
        return 0.0, 0.0
    angle = 2 * np.pi * seconds / period
    return (
        float(2 * (values * np.cos(angle)).mean() / mean),
        float(2 * (values * np.sin(angle)).mean() / mean),
    )


def regime_blocks(
    seconds: Array, series: Sequence[Array], block_hours: float
) -> tuple[Array, tuple[str, ...]]:
    """Means of some series in blocks of time, (blocks, series), and ISO times of their starts."""
    if not len(seconds):
        return np.zeros((0, len(series))), ()
    block = (seconds // (3600.0 * block_hours)).astype(np.int64)
    numbers, place = np.unique(block, return_inverse=True)
    count = np.bincount(place)
    means = np.stack([np.bincount(place, values) / count for values in series], -1)
    starts = (numbers * round(3600 * block_hours)).astype("datetime64[s]")
    return means, tuple(str(start) for start in starts)


def _description(
    region: RegionSection,
    found: _Gathered,
    table: Array,
    wet: NDArray[np.bool_],
    step: int,
    km: float,
    least_samples: int,
    block_hours: float,
) -> Description:
    rows, columns = slices_of(region)
    position = (km * (rows.start + rows.stop) / 2, km * (columns.start + columns.stop) / 2)
    seconds, wet_series, mean = (np.array(s) for s in (found.seconds, found.wet, found.mean))
    regime, starts = regime_blocks(seconds, (wet_series, mean), block_hours)
    wet_counts = np.where(wet, found.counts, 0)
    # Heavy rain is compared as log values, as the networks see it.
    intensities = [
        float(np.log1p(10.0 * table[_quantile_code(wet_counts, table, q)])) for q in QUANTILES
    ]
    motions = np.array(found.motions).reshape(-1, 2) * km * 3600.0 / step
    features = {
        "wet fraction": float(wet_series.mean()) if len(wet_series) else np.nan,
        **{f"intensity q{q:g}": v for q, v in zip(QUANTILES, intensities, strict=True)},
        "length km": km * float(np.mean(found.lengths)) if found.lengths else np.nan,
        "memory min": _memory_minutes(found.memory, step),
        "motion south km/h": _middle_mean(motions[:, 0]),
        "motion east km/h": _middle_mean(motions[:, 1]),
    }
    for name, period in (("day", DAY_SECONDS), ("year", YEAR_SECONDS)):
        if len(seconds) and np.ptp(seconds) >= period:
            cosine, sine = harmonic(seconds, mean, period)
            features |= {f"{name} cosine": cosine, f"{name} sine": sine}
        else:
            features |= {f"{name} cosine": np.nan, f"{name} sine": np.nan}
    problem = None
    if not len(seconds):
        problem = "no data"
    elif len(seconds) < least_samples:
        problem = f"{len(seconds)} frames, {least_samples} are needed"
    elif not wet_counts.any():
        problem = "no rain"
    return Description(position, features, regime, starts, problem)


def _quantile_code(counts: NDArray[np.int64], table: Array, level: float) -> int:
    order = np.argsort(table, kind="stable")
    total = np.cumsum(counts[order])
    return int(order[np.searchsorted(total, level * total[-1])]) if total[-1] else 0


def _middle_mean(values: Array) -> float:
    """Mean of the middle half: steps are whole pixels, and some pairs of frames mislead."""
    quarter = len(values) // 4
    return float(np.sort(values)[quarter : len(values) - quarter].mean()) if len(values) else np.nan


def _memory_minutes(memory: dict[int, list[float]], step: int) -> float:
    """Minutes after which a field correlates with itself by less than 1/e."""
    before_lag, before = 0, 1.0
    for lag in MEMORY_LAGS:
        if lag not in memory:
            break
        after = float(np.mean(memory[lag]))
        if after < np.exp(-1):
            whole = before_lag + (lag - before_lag) * (before - np.exp(-1)) / (before - after)
            return float(whole) * step / 60
        before_lag, before = lag, after
    return before_lag * step / 60 if memory else np.nan
