"""The texture that rain has and the forecast of a place that is not sure has not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.shards.schema import QUANTITIES

Array = NDArray[np.float32]

# mm/h. What a forecast says of these stays as it is: where it will rain, where moderately and
# where heavily. Between two of them it has room for texture.
CLASSES = (QUANTITIES["rain_rate"].wet_threshold, 1.0, 5.0)
# A pixel at the end of a class is taken to be this far from it.
LEAST_ODDS = 1e-3


def give_texture(forecast: Array, moved: Array, strength: float) -> Array:
    """Give the rain of a forecast the texture of the newest frame moved on.

    What a network is not sure of is smooth in its forecast, as the mean of what may come is. That
    is the best forecast of each pixel, and unlike any rain. So within each class of rates a pixel
    is brought nearer to that of the moved frame, as far as its class goes: of its place in the
    class, as a share of the way on a logarithmic scale, the log-odds change by ``strength`` times
    the logarithm of the quotient of the two rates. No pixel leaves its class, so scores of events
    at the borders of the classes stay the same.

    Parameters
    ----------
    forecast
        Rain rate in mm/h, shape (leads, y, x).
    moved
        The newest frame moved on to each lead time, NaN where its rain would come from outside,
        same shape; or none, shape (0, y, x), where the strength is 0.
    strength
        0 changes nothing.

    Returns
    -------
    numpy.ndarray
        mm/h, of the shape of the forecast.
    """
    if not strength:
        return forecast
    textured = forecast.copy()
    for low, high in pairwise(CLASSES):
        inside = (forecast >= low) & (forecast < high) & np.isfinite(moved)
        textured[inside] = _within(forecast[inside], moved[inside], strength, low, high)
    return textured


def _within(rates: Array, moved: Array, strength: float, low: float, high: float) -> Array:
    """Rates (n,) of one class brought nearer to moved ones (n,)."""
    place = np.log(rates / low) / np.log(high / low)
    place = place.clip(LEAST_ODDS, 1 - LEAST_ODDS)
    weakest = CLASSES[0]
    nearer = strength * np.log((moved + weakest) / (rates + weakest))
    log_odds = np.log(place / (1 - place)) + nearer
    # From log-odds back to a share, in a form that does not overflow.
    found = low * (high / low) ** (0.5 + 0.5 * np.tanh(log_odds / 2))
    below = np.nextafter(np.float32(high), np.float32(0))
    return found.astype(np.float32).clip(np.float32(low), below)
