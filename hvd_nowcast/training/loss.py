"""What is minimised, as a sum over pixels."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hvd_nowcast.config import LossSection
from hvd_nowcast.loader.scaling import LinearScaling, Scaling

# Share of the spread that is told from it without bias, after Lang et al. 2024
# (doi:10.48550/arXiv.2412.15832); with all of it, two members may drift apart unpunished.
FAIRNESS = 0.95
# Exponent from which rain is no more than the most there can be: 800 mm/h.
LARGEST_EXPONENT = 9.0
# Slope of the soft threshold in scaled units: from 12 % to 88 % within 0.27.
EXCEEDANCE_STEEPNESS = 15.0


class NowcastLoss:
    """Sum over valid pixels of the weighted error of the scaled field.

    Every term is a sum over pixels, so the loss of a batch is the same however the batch is
    divided over ranks. The exceedance term is the soft count of misses and false alarms, of
    which ``CSI = hits / (hits + misses + false alarms)`` is made. One more miss lowers CSI
    ``1 / CSI`` times as much as one more false alarm, which is what a miss should cost.

    The continuous ranked probability score of members x and observation y is ``mean |x - y| -
    mean |x - x'| / 2`` over pairs of members (Gneiting and Raftery 2007,
    doi:10.1198/016214506000001437).

    Parameters
    ----------
    section
        Kind and weights.
    scaling
        The scaling the network works in.
    """

    def __init__(self, section: LossSection, scaling: Scaling) -> None:
        self._section = section
        self._scaling = scaling

    def __call__(self, forecast: tf.Tensor, target: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """Sum over all valid pixels and lead times, a scalar.

        Parameters
        ----------
        forecast
            Scaled fields of the members, shape (members, b, y, x, frames_out).
        target, weight
            Scaled field, and 1 where it has data, shape (b, y, x, frames_out).
        """
        if self._section.error == "crps":
            return tf.reduce_sum(weight * self._ranked_probability(forecast, target))
        difference = forecast - target
        loss = tf.square(difference) if self._section.error == "mse" else tf.abs(difference)
        if self._section.rain_weight:
            loss *= self._rain_weight(target)
        if self._section.exceedance:
            loss += self._section.exceedance * self._exceedance(forecast, target)
        return tf.reduce_sum(weight * loss)

    def _ranked_probability(self, members: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        score = _continuous_ranked_probability(members, target)
        if not self._section.physical_weight:
            return score
        fields = _physical(self._scaling, members), _physical(self._scaling, target)
        return score + self._section.physical_weight * _continuous_ranked_probability(*fields)

    def _rain_weight(self, target: tf.Tensor) -> tf.Tensor:
        section = self._section
        rain = _physical(self._scaling, target)
        return 1.0 + section.rain_weight * tf.minimum(rain, section.rain_weight_limit)

    def _exceedance(self, forecast: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        section = self._section
        weights = section.threshold_weights or (1.0,) * len(section.thresholds)
        miss_costs = self._miss_costs(target.shape[-1])
        count = tf.zeros_like(target)
        for threshold, weight, miss_cost in zip(
            section.thresholds, weights, miss_costs, strict=True
        ):
            level = tf.cast(self._scaling.forward(np.array(threshold)), target.dtype)
            observed = tf.cast(target >= level, target.dtype)
            probability = tf.sigmoid(EXCEEDANCE_STEEPNESS * (forecast - level))
            misses, false_alarms = observed * (1 - probability), (1 - observed) * probability
            count += weight * (tf.cast(miss_cost, target.dtype) * misses + false_alarms)
        return count / sum(weights)

    def _miss_costs(self, leads: int) -> NDArray[np.float64]:
        """Cost of a miss of each threshold at each lead time, shape (thresholds, leads)."""
        first = self._section.miss_costs or (1.0,) * len(self._section.thresholds)
        return np.linspace(first, self._section.last_miss_costs or first, leads, axis=1)


def _continuous_ranked_probability(members: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Score of each pixel, shape (b, y, x, frames_out)."""
    return tf.reduce_mean(tf.abs(members - target), 0) - _half_spread(members)


def _half_spread(members: tf.Tensor) -> tf.Tensor:
    """Half the mean difference of two members, shape (b, y, x, frames_out)."""
    count = members.shape[0]
    pairs = tf.abs(members[:, None] - members[None])
    fair = (1 - (1 - FAIRNESS) / count) / (2 * count * (count - 1))
    return fair * tf.reduce_sum(pairs, (0, 1))


def _physical(scaling: Scaling, scaled: tf.Tensor) -> tf.Tensor:
    # The same formulas as Scaling.inverse, on tensors.
    positive = tf.maximum(scaled, 0.0)
    if isinstance(scaling, LinearScaling):
        return positive * scaling.scale
    exponent = tf.minimum(positive * scaling.scale, LARGEST_EXPONENT)
    return scaling.reference * tf.math.expm1(exponent)
