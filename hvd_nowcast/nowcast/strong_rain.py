"""Strong rain that a forecast has lost, brought back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.shards.schema import QUANTITIES

Array = NDArray[np.float32]

# mm/h: weaker rain stays as it is, stronger is brought back in full; between, in part.
WEAK, STRONG = 2.0, 5.0
# Forecasts of less are dry, and stay so.
DRY = QUANTITIES["rain_rate"].wet_threshold
# With less of the area to compare with, a few pixels would decide.
LEAST_AREA = 0.05


def restore_strong_rain(
    forecast: Array, moved: Array, known: NDArray[np.bool_], share: float
) -> Array:
    """Give the strongest rain of a forecast the rates of the rain that is there now.

    A network that is not sure where strong rain will be forecasts less of it everywhere, and soon
    none. It still tells where it is likely. So its pixels take the rates of the newest frame moved
    on, the likeliest the strongest and so on (probability matching, Ebert 2001,
    doi:10.1175/1520-0493(2001)129<2461:AOAPMS>2.0.CO;2), in the order of the mean of the forecast
    and of that frame: of the place, the two know more than the one. Nothing is ever weakened, and
    where strong rain belongs it becomes strong, however little of its rate is given.

    Parameters
    ----------
    forecast
        Rain rate in mm/h, shape (leads, y, x).
    moved
        The newest frame moved on to each lead time, NaN where its rain would come from outside,
        same shape; or none, shape (0, y, x), where the share is 0.
    known
        Where there is radar, shape (y, x).
    share
        How far towards these rates at the last lead time, from 0, where nothing is done, to 1.
        At the first it is all the way, and less and less between: farther finds more of the strong
        rain, not so far is nearer in the mean, and less is known of a later time. It is less by
        the part of the area whose rain will come from outside.

    Returns
    -------
    numpy.ndarray
        mm/h, of the shape of the forecast.
    """
    if not share:
        return forecast
    restored = forecast.copy()
    shares = np.linspace(1, share, len(forecast))
    for field, frame, part in zip(restored, moved, shares.tolist(), strict=True):
        field[known] = _matched(field[known], frame[known], part)
    return restored


def _matched(rates: Array, moved: Array, share: float) -> Array:
    """Rates (n,) of which the likeliest are raised to the strongest of the moved ones (n,)."""
    there = moved[np.isfinite(moved)]
    strong = -np.sort(-there[there >= WEAK])
    if len(there) < LEAST_AREA * len(rates) or not len(strong):
        return rates
    likely = np.where(rates >= DRY, rates + np.where(np.isfinite(moved), moved, rates), 0)
    count = min(round(len(strong) * len(rates) / len(there)), np.count_nonzero(likely))
    strongest = _largest(likely, count)
    known = len(there) / len(rates)
    found = rates_by_rank(strong, count, known)
    part = share * known * np.clip((found - WEAK) / (STRONG - WEAK), 0, 1)
    raised = rates.copy()
    raised[strongest] += part * np.maximum(found - rates[strongest], 0)
    # A share of the way to a rate just above STRONG would end below it, and the event be lost.
    strong_there = strongest[found >= STRONG]
    raised[strong_there] = np.maximum(raised[strong_there], STRONG)
    return raised


def rates_by_rank(there: Array, count: int, known: float) -> NDArray[np.float64]:
    """Rates of the strongest pixels of a forecast, the strongest first, shape (count,).

    Parameters
    ----------
    there
        Rates there are, the strongest first, shape (n,); the last of them goes on.
    count
        How many pixels.
    known
        Part of the area of the forecast in which they were found.
    """
    # The middle of each pixel's share of the area.
    place = (np.arange(count) + 0.5) * known - 0.5
    found: NDArray[np.float64] = np.interp(place, np.arange(len(there)), there)
    return found


def _largest(values: Array, count: int) -> NDArray[np.int64]:
    """Places of some values, the largest first."""
    # To sort all would take ten times as long.
    largest = np.argpartition(-values, min(count, len(values) - 1))[:count]
    return largest[np.argsort(-values[largest])]
