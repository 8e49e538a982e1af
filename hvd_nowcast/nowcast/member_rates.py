"""The rates and the texture of a member of an ensemble."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.nowcast.strong_rain import LEAST_AREA, rates_by_rank
from hvd_nowcast.optional import import_optional

Array = NDArray[np.float32]

# On DWD radar of 15 and 16 May 2018 a member then has 0.94 and 1.11 of the observed power at 8 km
# after an hour; with 0.5 it is 0.85 and 1.04, with 0.8, 1.03 and 1.18, without, 0.71 and 0.94.
TEXTURE = 0.65
TEXTURE_WIDTH = 1.5


def sorted_rates(moved: Array, known: NDArray[np.bool_]) -> list[Array]:
    """Rates there are at each lead time, the strongest first: once for all members.

    Parameters
    ----------
    moved
        The newest frame moved on to each lead time, NaN where its rain would come from outside,
        shape (leads, y, x), or none, shape (0, y, x).
    known
        Where there is radar, shape (y, x).
    """
    fields = (frame[known] for frame in moved)
    return [np.sort(rates[np.isfinite(rates)])[::-1] for rates in fields]


def give_rates(
    member: Array,
    there: Sequence[Array],
    known: NDArray[np.bool_],
    wet_threshold: float,
    generator: np.random.Generator,
) -> Array:
    """Give a member the rates of the rain that is there now, and the texture of rain.

    A network trained on a score of many members draws rain where it may be, but too much of it too
    weak. So the rain of a member takes the rates of the newest frame moved on, each pixel that of
    its rank (probability matching, as members of STEPS have it: Bowler et al. 2006,
    doi:10.1256/qj.04.100). What a network cannot know is smooth in it: before, the rates are
    multiplied by noise of a few pixels, whose logarithm has a standard deviation that rises with
    the lead time to `TEXTURE`.

    Parameters
    ----------
    member
        Physical values, shape (leads, y, x).
    there
        Of `sorted_rates`; without any, the member stays as it is.
    known
        Where there is radar, shape (y, x).
    wet_threshold
        What is less is dry, and stays as it is.
    generator
        Draws the noise.

    Returns
    -------
    numpy.ndarray
        Of the shape of the member: all the way to these rates, less by the part of the area whose
        rain will come from outside.
    """
    if not there:
        return member
    found = member.copy()
    noise = _texture(known.shape, generator)
    deviations = TEXTURE * np.arange(1, len(member) + 1) / len(member)
    area = np.count_nonzero(known)
    for field, rates, deviation in zip(found, there, deviations.tolist(), strict=True):
        wet = known & (field >= wet_threshold)
        # Of mean 1: the amount of rain stays.
        textured = field[wet] * np.exp(deviation * noise[wet] - deviation**2 / 2)
        field[wet] = _matched(textured, rates, len(rates) / max(area, 1))
    return found


def _texture(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    filters = import_optional("scipy.ndimage", "members of an ensemble need SciPy", "scipy")
    white = generator.standard_normal(shape, np.float32)
    smooth: Array = filters.gaussian_filter(white, TEXTURE_WIDTH, mode="wrap")
    # Of variance 1.
    return smooth * np.float32(2 * math.sqrt(math.pi) * TEXTURE_WIDTH)


def _matched(wet: Array, there: Array, part: float) -> Array:
    """Rates of wet pixels (n,) brought to those there are, known in a part of the area, by rank."""
    if part < LEAST_AREA:
        return wet
    order = np.argsort(-wet)
    rates = rates_by_rank(there, len(wet), part).astype(np.float32)
    matched = wet.copy()
    matched[order] += np.float32(part) * (rates - wet[order])
    return matched
