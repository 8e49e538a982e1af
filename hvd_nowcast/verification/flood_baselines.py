"""What a flood model must beat: the last discharge, and a linear model of the newest steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LAGS = 10
PENALTIES = (1e-3, 1e-1, 1.0, 10.0, 100.0)


def persistence(discharge: Array, places: NDArray[np.int64], leads: int) -> Array:
    """The newest discharge for all lead times, shape (starts, leads); NaN where it is missing."""
    return np.repeat(discharge[places][:, None], leads, 1)


class LaggedLinear:
    """Discharge as a linear function of the newest discharge, rain and inflow of one gauge.

    The classical autoregressive model with exogenous inputs: ridge regression per lead time on the
    last `LAGS` steps of everything, and on the coming rain where the flood model is given it too.

    Parameters
    ----------
    discharge
        m3/s, shape (t,).
    rain
        Mean over the gauge's area, shape (t,).
    others
        Further series known up to now, shape (t, n).
    leads
        Lead times.
    future_rain
        Whether the coming rain is known.
    """

    def __init__(
        self, discharge: Array, rain: Array, others: Array, leads: int, future_rain: bool
    ) -> None:
        self._discharge = discharge
        self._rain = rain
        self._others = others
        self._leads = leads
        self._future = leads if future_rain else 0

    def fit(self, train: NDArray[np.int64], validation: NDArray[np.int64]) -> LaggedLinear:
        """Solve on some starts; the ridge penalty is the best one of others."""
        inputs, wanted = self._inputs(train), self._wanted(train)
        known = np.isfinite(inputs).all(1) & np.isfinite(wanted).all(1)
        inputs, wanted = inputs[known], wanted[known]
        deviation = inputs.std(0)
        self._scale: Array = np.where(deviation > 0, deviation, 1.0)
        inputs = inputs / self._scale
        square, right = inputs.T @ inputs, inputs.T @ wanted
        candidates = [
            np.linalg.solve(square + penalty * np.eye(len(square)), right) for penalty in PENALTIES
        ]
        held = self._inputs(validation) / self._scale
        errors = [np.nanmean((held @ c - self._wanted(validation)) ** 2) for c in candidates]
        self._solution: Array = candidates[int(np.nanargmin(errors))]
        return self

    def forecast(self, places: NDArray[np.int64]) -> Array:
        """m3/s from some starts, never negative, shape (starts, leads)."""
        return np.maximum(self._inputs(places) / self._scale @ self._solution, 0.0)

    def _inputs(self, places: NDArray[np.int64]) -> Array:
        past = places[:, None] - np.arange(LAGS)
        coming = places[:, None] + np.arange(1, self._future + 1)
        return np.concatenate(
            [
                np.ones((len(places), 1)),
                self._discharge[past],
                self._rain[past],
                self._rain[coming],
                self._others[past].reshape(len(places), -1),
            ],
            1,
        )

    def _wanted(self, places: NDArray[np.int64]) -> Array:
        return self._discharge[places[:, None] + np.arange(1, self._leads + 1)]
