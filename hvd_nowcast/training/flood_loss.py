"""What a flood model minimises, as a sum over gauges and lead times of the scaled discharge."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from hvd_nowcast.config import FloodModelSection

LEAST_DEVIATION = 1e-3


def flood_loss(
    section: FloodModelSection, forecast: tf.Tensor, target: tf.Tensor, weight: tf.Tensor
) -> tf.Tensor:
    """Sum over all that is known, a scalar.

    The square error of the discharge scaled by its deviation, whose mean is ``1 - NSE`` of a gauge
    (Kratzert et al. 2019, doi:10.5194/hess-23-5089-2019); the negative log likelihood of a normal
    distribution; or the quantile (pinball) loss (Koenker and Bassett 1978, doi:10.2307/1913643).

    Parameters
    ----------
    section
        Which of them.
    forecast
        Shape (b, l, outputs).
    target, weight
        Shape (b, l).
    """
    difference = target[..., None] - forecast
    if section.output == "mean":
        loss = tf.square(difference[..., 0])
    elif section.output == "gaussian":
        deviation = gaussian_deviation(forecast[..., 1])
        loss = 0.5 * tf.square(difference[..., 0] / deviation) + tf.math.log(deviation)
    else:
        level = tf.constant(np.array(section.quantiles), forecast.dtype)
        loss = tf.reduce_mean(tf.maximum(level * difference, (level - 1) * difference), -1)
    return tf.reduce_sum(weight * loss)


def gaussian_deviation(raw: tf.Tensor) -> tf.Tensor:
    """Standard deviation from the network's second output."""
    return tf.nn.softplus(raw) + LEAST_DEVIATION
