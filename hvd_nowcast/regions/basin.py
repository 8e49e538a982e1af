"""What terrain, rain and discharge tell of the basin of a gauge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.config import FloodConfig, RegionSection
from hvd_nowcast.hydrology.watershed import Watershed
from hvd_nowcast.loader.flood import RainRecord
from hvd_nowcast.regions.radar import YEAR_SECONDS, correlation, regime_blocks
from hvd_nowcast.regions.similarity import Description
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.reader import ReaderPool
from hvd_nowcast.training.flood import times_of

Array = NDArray[np.float64]

# Steps over which rain is looked for in the discharge.
LARGEST_LAG = 10
WET_MM_PER_DAY = 1.0


def describe_basins(
    manifest: Manifest,
    pool: ReaderPool,
    watershed: Watershed,
    regions: Sequence[RegionSection],
    config: FloodConfig,
    block_hours: float,
) -> list[Description]:
    """Describe the basins of gauges by their terrain and the training split.

    Parameters
    ----------
    manifest, pool, watershed
        The archive.
    regions
        With gauges.
    config
        Of one model, for velocities and the length of a sample.
    block_hours
        Length of the blocks of the regime.
    """
    train = times_of(manifest, "train", watershed.times)
    places = np.flatnonzero(train)
    rain = _rain(manifest, pool, watershed, places)
    fields = watershed.contributions(config.hydrology, manifest.grid.shape)
    seconds = watershed.times[places].astype("datetime64[s]").astype(np.float64)
    found = []
    for region in regions:
        number = watershed.gauges.index(str(region.gauge))
        field = fields[number]
        weight = field.weight.astype(np.float64)
        area_rain = np.einsum("tyx,yx->t", rain, weight) * 24.0
        flow = watershed.discharge[places, number].astype(np.float64)
        upstream = watershed.network.drains_through(int(watershed.gauge_node[number]))
        features = {
            "log area": float(np.log(field.area)),
            "slope": float(watershed.network.slope[upstream].mean()),
            "travel hours": float((weight * field.delay).sum()),
            **_climate(area_rain, flow, field.area, manifest.step_seconds),
            **_season(seconds, area_rain, flow),
        }
        known = np.isfinite(flow)
        scaled = np.where(known, flow, 0.0) / (np.nanmean(flow) if known.any() else 1.0)
        regime, starts = regime_blocks(seconds, (area_rain, scaled), block_hours)
        position = _centre(weight, manifest.grid.spacing)
        found.append(Description(position, features, regime, starts, _problem(flow, config)))
    return found


def _problem(flow: Array, config: FloodConfig) -> str | None:
    known = np.isfinite(flow)
    steps = config.data.frames_in + config.data.frames_out
    if not known.any():
        return "no data"
    if known.sum() < steps:
        return f"{int(known.sum())} steps with a discharge, {steps} are needed"
    if np.ptp(flow[known]) == 0:
        return "its discharge never changes"
    return None


def _rain(
    manifest: Manifest, pool: ReaderPool, watershed: Watershed, places: NDArray[np.int64]
) -> NDArray[np.float32]:
    record = RainRecord(manifest, pool, watershed.times)
    table = np.nan_to_num(manifest.packing.table()).astype(np.float32)
    frames = [table[record.codes(range(place, place + 1))[0]] for place in places.tolist()]
    return np.stack(frames) if frames else np.zeros((0, *manifest.grid.shape), np.float32)


def _climate(rain: Array, flow: Array, area: float, step_seconds: int) -> dict[str, float]:
    known = np.isfinite(flow)
    if not known.any() or not len(rain):
        names = ("wet fraction", "rain mm/d", "runoff ratio", "variation", "memory", "lag steps")
        return dict.fromkeys(names, np.nan)
    runoff = np.where(known, flow, np.nan) * 86.4 / area
    mean = float(np.nanmean(runoff))
    steps = slice(None, -1), slice(1, None)
    both = known[steps[0]] & known[steps[1]]
    return {
        "wet fraction": float((rain > WET_MM_PER_DAY).mean()),
        "rain mm/d": float(rain.mean()),
        "runoff ratio": mean / float(rain.mean()) if rain.any() else np.nan,
        "variation": float(np.nanstd(runoff)) / mean if mean > 0 else np.nan,
        "memory": correlation(flow[:-1][both], flow[1:][both]) if both.any() else np.nan,
        "lag steps": rain_runoff_lag(rain, flow),
    }


def rain_runoff_lag(rain: Array, flow: Array) -> float:
    """Steps after which discharge rises most with rain, from their correlation at each lag.

    The lags around the largest are averaged by their correlation, so that it is not a whole number.
    """
    rise = np.diff(flow)
    found = []
    for lag in range(LARGEST_LAG + 1):
        fallen, risen = rain[1 : len(rain) - lag], rise[lag:]
        known = np.isfinite(risen)
        found.append(correlation(fallen[known], risen[known]) if known.sum() > 2 else 0.0)
    best = int(np.argmax(found))
    around = range(max(0, best - 1), min(LARGEST_LAG, best + 1) + 1)
    weights = np.maximum([found[lag] for lag in around], 0.0)
    return float(np.average(list(around), weights=weights)) if weights.any() else np.nan


def _season(seconds: Array, rain: Array, flow: Array) -> dict[str, float]:
    known = np.isfinite(flow)
    found = {}
    for name, values, times in (("rain", rain, seconds), ("flow", flow[known], seconds[known])):
        angle = 2 * np.pi * times / YEAR_SECONDS
        mean = values.mean() if len(values) else 0.0
        for part, wave in (("cosine", np.cos(angle)), ("sine", np.sin(angle))):
            found[f"{name} year {part}"] = (
                float(2 * (values * wave).mean() / mean) if mean > 0 else np.nan
            )
    return found


def _centre(weight: Array, spacing: float) -> tuple[float, float]:
    rows, columns = np.mgrid[: weight.shape[0], : weight.shape[1]] + 0.5
    km = spacing / 1000.0
    total = weight.sum()
    return float(km * (rows * weight).sum() / total), float(km * (columns * weight).sum() / total)
