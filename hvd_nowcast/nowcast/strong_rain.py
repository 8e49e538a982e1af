"""Strong rain that a forecast has lost, brought back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# mm/h: weaker rain stays as it is, stronger is brought back in full; between, in part.
WEAK, STRONG = 2.0, 5.0
# Forecasts of less are dry, and stay so.
DRY = 0.1
# With less of the area to compare with, a few pixels would decide.
LEAST_AREA = 0.05


def restore_strong_rain(
    forecast: Array, moved: Array, known: NDArray[np.bool_], share: float
) -> Array:
    """Give the strongest rain of a forecast the rates of the rain that is there now.

    A network that is not sure where strong rain will be forecasts less of it everywhere, and soon
    none. It still knows best where it is likely. So its pixels keep their order, and take the rates
    of the newest frame moved on: the strongest the strongest, and so on (probability matching,
    Ebert 2001, doi:10.1175/1520-0493(2001)129<2461:AOAPMS>2.0.CO;2). Nothing is ever weakened.

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
        How far towards these rates, from 0 to 1. Farther is sharper, and finds more of the strong
        rain; not so far is nearer in the mean.

    Returns
    -------
    numpy.ndarray
        mm/h, of the shape of the forecast.
    """
    if not share:
        return forecast
    restored = forecast.copy()
    for field, rates in zip(restored, moved, strict=True):
        there = rates[known & np.isfinite(rates)]
        if there.size > LEAST_AREA * np.count_nonzero(known):
            field[known] = _matched(field[known], there, share)
    return restored


def _matched(rates: Array, there: Array, share: float) -> Array:
    """Rates (n,) of which the strongest are raised towards those of as large a part of others."""
    strong = -np.sort(-there[there >= WEAK])
    count = min(round(len(strong) * len(rates) / len(there)), np.count_nonzero(rates >= DRY))
    if not count:
        return rates
    strongest = np.argpartition(-rates, count - 1)[:count]
    strongest = strongest[np.argsort(-rates[strongest], kind="stable")]
    # The middle of each pixel's share of the area.
    place = (np.arange(count) + 0.5) * len(there) / len(rates) - 0.5
    found = np.interp(place, np.arange(len(strong)), strong)
    part = share * np.clip((found - WEAK) / (STRONG - WEAK), 0, 1)
    raised = rates.copy()
    raised[strongest] += part * np.maximum(found - rates[strongest], 0)
    return raised
