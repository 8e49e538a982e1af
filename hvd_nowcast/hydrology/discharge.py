"""Discharge ahead of a time, with what it was made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DischargeForecast:
    """A forecast of the discharge at some gauges.

    Attributes
    ----------
    gauges
        Their names.
    times
        Of the past steps and the lead times, ``datetime64[s]``, shape (t,).
    steps_in
        How many of them are past.
    observed
        Past discharge in m3/s, NaN where missing, shape (steps_in, gauges).
    discharge
        m3/s, NaN at gauges without any past discharge, shape (leads, gauges, quantiles).
    quantiles
        Levels of the last axis.
    rain
        Mean rain rate over the area of each gauge in mm h-1, shape (t, gauges).
    rain_hours
        How much of the rain of each lead time was known, shape (leads,).
    fingerprint
        Of the weights.
    """

    gauges: tuple[str, ...]
    times: NDArray[np.datetime64]
    steps_in: int
    observed: Array
    discharge: Array
    quantiles: tuple[float, ...]
    rain: Array
    rain_hours: Array
    fingerprint: str

    def __str__(self) -> str:
        """One line for people."""
        hours = (self.times[-1] - self.reference_time) / np.timedelta64(1, "h")
        if not np.isfinite(self.median).any():
            return f"no discharge known before {self.reference_time} UTC"
        lead, gauge = np.unravel_index(np.nanargmax(self.median), self.median.shape)
        return (
            f"{len(self.gauges)} gauges to {hours:g} hours after {self.reference_time} UTC, up to "
            f"{self.median[lead, gauge]:.1f} m3/s at {self.gauges[gauge]}"
        )

    @property
    def median(self) -> Array:
        """Median discharge, shape (leads, gauges)."""
        return self.discharge[..., self.quantiles.index(0.5)]

    @property
    def reference_time(self) -> np.datetime64:
        """Newest step with a known discharge."""
        return self.times[self.steps_in - 1]
