"""The one forecast of an evaluation that is kept whole, for the strip of maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Example:
    """A forecast beside what was observed.

    Attributes
    ----------
    start
        Time of the newest input frame, UTC.
    newest
        Newest input frame, shape (y, x), physical units, NaN where missing.
    observed
        Frames that followed, shape (leads, y, x).
    forecasts
        Source -> forecast, shape (leads, y, x).
    event_pixels
        Number of observed pixels at or above the threshold the example is chosen by.
    """

    start: np.datetime64
    newest: NDArray[np.floating[Any]]
    observed: NDArray[np.floating[Any]]
    forecasts: dict[str, NDArray[np.floating[Any]]]
    event_pixels: int


def wetter(first: Example | None, second: Example | None) -> Example | None:
    """Choose the example with more rain, the first one when they are alike."""
    if first is None or second is None:
        return first or second
    return max(first, second, key=lambda example: example.event_pixels)
