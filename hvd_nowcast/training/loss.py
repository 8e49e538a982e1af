"""What is minimised, as a sum over pixels."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from hvd_nowcast.config import LossSection
from hvd_nowcast.loader.scaling import LinearScaling, Scaling

# Slope of the soft threshold in scaled units: from 12 % to 88 % within 0.27.
EXCEEDANCE_STEEPNESS = 15.0


class NowcastLoss:
    """Sum over valid pixels of the weighted error of the scaled field.

    Every term is a sum over pixels, so the loss of a batch is the same however the batch is
    divided over ranks. The exceedance term is the soft count of misses and false alarms, the
    numerator of ``1 - CSI = (misses + false alarms) / (hits + misses + false alarms)``.

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
        forecast, target
            Scaled fields, shape (b, y, x, frames_out).
        weight
            1 where the target has data, same shape.
        """
        difference = forecast - target
        loss = tf.square(difference) if self._section.error == "mse" else tf.abs(difference)
        if self._section.rain_weight:
            loss *= self._rain_weight(target)
        if self._section.exceedance:
            loss += self._section.exceedance * self._exceedance(forecast, target)
        return tf.reduce_sum(weight * loss)

    def _rain_weight(self, target: tf.Tensor) -> tf.Tensor:
        section = self._section
        rain = _physical(self._scaling, target)
        return 1.0 + section.rain_weight * tf.minimum(rain, section.rain_weight_limit)

    def _exceedance(self, forecast: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        count = tf.zeros_like(target)
        for threshold in self._section.thresholds:
            level = tf.cast(self._scaling.forward(np.array(threshold)), target.dtype)
            observed = tf.cast(target >= level, target.dtype)
            probability = tf.sigmoid(EXCEEDANCE_STEEPNESS * (forecast - level))
            count += observed * (1 - probability) + (1 - observed) * probability
        return count / len(self._section.thresholds)


def _physical(scaling: Scaling, scaled: tf.Tensor) -> tf.Tensor:
    # The same formulas as Scaling.inverse, on tensors.
    positive = tf.maximum(scaled, 0.0)
    if isinstance(scaling, LinearScaling):
        return positive * scaling.scale
    return scaling.reference * tf.math.expm1(positive * scaling.scale)
