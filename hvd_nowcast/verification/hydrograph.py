"""Scores of discharge forecasts: efficiency, bias, and how well peaks are met.

Unlike the scores of rain fields these are not additive: a gauge's whole series is kept, which is
small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.verification.quotients import plain
from hvd_nowcast.verification.scores import import_scores

Array = NDArray[np.float64]

METRICS = ("nse", "kge", "pbias", "rmse", "peak_error", "peak_timing")
# A peak is the largest flow of so many steps on both sides, and above this share of the flows.
PEAK_STEPS = 5
PEAK_QUANTILE = 0.9


@dataclass(frozen=True)
class HydrographScores:
    """Scores of one source at one gauge.

    Attributes
    ----------
    nse
        Nash and Sutcliffe 1970, 1 is best.
    kge
        Gupta et al. 2009, 1 is best.
    pbias
        Bias in percent of the observed flow, positive where the forecast is too high.
    rmse
        m3/s.
    peak_error
        Mean error at the observed peaks in percent of them.
    peak_timing
        Mean distance in hours between an observed peak and the highest forecast near it.
    """

    nse: float
    kge: float
    pbias: float
    rmse: float
    peak_error: float
    peak_timing: float


def score_hydrograph(forecast: Array, observed: Array, step_hours: float) -> HydrographScores:
    """Compare a forecast of one lead time with what was observed.

    Parameters
    ----------
    forecast, observed
        m3/s in time order, NaN where missing, shape (t,).
    step_hours
        Time between two values.
    """
    known = np.isfinite(forecast) & np.isfinite(observed)
    if known.sum() < 2 or np.ptp(observed[known]) == 0:
        return HydrographScores(*[np.nan] * len(METRICS))
    import_scores()
    import xarray
    from scores import continuous

    ours, theirs = (xarray.DataArray(v[known], dims="time") for v in (forecast, observed))
    error, late = peak_scores(forecast, observed, step_hours)
    return HydrographScores(
        float(continuous.nse(ours, theirs)),
        float(continuous.kge(ours, theirs)),
        float(continuous.pbias(ours, theirs)),
        float(continuous.rmse(ours, theirs)),
        error,
        late,
    )


def find_peaks(observed: Array) -> NDArray[np.int64]:
    """Places of the peaks of a series: highest among their neighbours, and high at all."""
    level = np.nanquantile(observed, PEAK_QUANTILE)
    padded = np.pad(np.nan_to_num(observed, nan=-np.inf), PEAK_STEPS, constant_values=-np.inf)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * PEAK_STEPS + 1).max(1)
    return np.flatnonzero(
        (observed >= level) & (observed >= around) & (observed > np.nanmin(observed))
    )


def peak_scores(forecast: Array, observed: Array, step_hours: float) -> tuple[float, float]:
    """Mean error at the peaks in percent, and mean error of their time in hours."""
    errors, delays = [], []
    for peak in find_peaks(observed):
        near = slice(max(0, peak - PEAK_STEPS), peak + PEAK_STEPS + 1)
        if not np.isfinite(forecast[near]).all():
            continue
        errors.append(100.0 * (forecast[peak] / observed[peak] - 1.0))
        delays.append(abs(near.start + int(np.argmax(forecast[near])) - peak) * step_hours)
    if not errors:
        return np.nan, np.nan
    return float(np.mean(errors)), float(np.mean(delays))


def score_table(
    forecasts: dict[str, Array], observed: Array, gauges: tuple[str, ...], step_hours: float
) -> dict[str, dict[str, dict[str, list[float | None]]]]:
    """All scores of all sources as ``{source: {metric: {gauge or "median": [one per lead]}}}``.

    Parameters
    ----------
    forecasts
        m3/s by source, shape (starts, gauges, leads).
    observed
        The same shape, NaN where missing.
    gauges
        Their names.
    step_hours
        Time between two starts.
    """
    table: dict[str, Any] = {}
    for source, values in forecasts.items():
        found = np.full((len(METRICS), len(gauges), observed.shape[2]), np.nan)
        for gauge in range(len(gauges)):
            for lead in range(observed.shape[2]):
                one = score_hydrograph(values[:, gauge, lead], observed[:, gauge, lead], step_hours)
                found[:, gauge, lead] = [getattr(one, metric) for metric in METRICS]
        table[source] = {
            metric: {
                **{name: plain(found[m, g]) for g, name in enumerate(gauges)},
                "median": plain(_median(found[m])),
            }
            for m, metric in enumerate(METRICS)
        }
    return table


def _median(values: Array) -> Array:
    known = np.isfinite(values).any(0)
    return np.array(
        [np.nanmedian(v) if k else np.nan for v, k in zip(values.T, known, strict=True)]
    )
