"""Rain of the coming time steps: a nowcast of minutes to the steps and the grid of a watershed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import ConfigError, InputError
from hvd_nowcast.grid import Grid
from hvd_nowcast.regrid import Regridder
from hvd_nowcast.shards.convert import open_source
from hvd_nowcast.shards.convert.source import FrameSource, checked


@dataclass(frozen=True)
class RainAhead:
    """Rain of the lead times.

    Attributes
    ----------
    rate
        Mean rain rate of each step in mm h-1, dry where nothing is known of a step, NaN in pixels
        that are never seen, shape (leads, y, x).
    known_hours
        How much of each step is known, shape (leads,).
    """

    rate: NDArray[np.float64]
    known_hours: NDArray[np.float64]


def read_rain_ahead(
    paths: Sequence[Path], grid: Grid, first: np.datetime64, step_seconds: int, leads: int
) -> RainAhead:
    """Read a rain forecast and take its mean over each coming step.

    A frame of a nowcast tells the rain up to its time; a step of a watershed begins at its time.

    Parameters
    ----------
    paths
        Files with a rain rate: what ``hvd-nowcast forecast`` writes, or any other that it reads.
    grid
        Of the watershed's rain.
    first
        Begin of the first coming step.
    step_seconds, leads
        Length and number of the steps.

    Raises
    ------
    InputError
        When the rain is of another time or place.
    """
    source = open_source(paths)
    if source.quantity != "rain_rate":
        raise InputError(paths[0], f"holds {source.quantity}, not a rain rate", "Give a nowcast")
    if len(source.times) < 2:
        raise InputError(paths[0], "holds a single frame of unknown length", "Give a series")
    seconds = source.step_seconds
    middle = source.times - np.timedelta64(seconds // 2, "s")
    lead = np.floor((middle - first) / np.timedelta64(step_seconds, "s")).astype(int)
    inside = np.flatnonzero((lead >= 0) & (lead < leads))
    if not inside.size:
        end = first + np.timedelta64(step_seconds * leads, "s")
        raise InputError(
            paths[0],
            f"is the rain of {source.times.min()} to {source.times.max()}, but that of {first} to "
            f"{end} is wanted",
            "Give a nowcast that starts where the discharge ends, or another --time",
        )
    regrid = _regridder(source, grid, paths[0])
    total = np.zeros((leads, *grid.shape))
    hours = np.zeros((leads, *grid.shape))
    for number in inside:
        field, _ = checked(source.read(int(number)), source.quantity, source.files[number])
        rain = regrid(field)
        known = np.isfinite(rain)
        total[lead[number]] += np.where(known, rain, 0.0) * seconds / 3600.0
        hours[lead[number]] += known * seconds / 3600.0
    seen = hours.max((1, 2))
    # A pixel that is seen for part of the time stands for the rest of that time.
    share = np.divide(seen[:, None, None], hours, out=np.zeros_like(hours), where=hours > 0)
    rate = total * share * 3600.0 / step_seconds
    rate[(hours == 0) & (seen[:, None, None] > 0)] = np.nan
    return RainAhead(rate, seen)


def _regridder(source: FrameSource, grid: Grid, path: Path) -> Regridder:
    try:
        regrid = Regridder(source.grid, grid)
    except ConfigError as problem:
        raise InputError(path, str(problem), "The watershed's own rain has the other") from problem
    if not regrid.overlaps:
        raise InputError(path, "lies outside the watershed", "Give a nowcast of its region")
    return regrid
