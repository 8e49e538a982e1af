"""What a flood model minimises, as a sum over gauges and lead times of the scaled discharge."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from hvd_nowcast.config import FloodModelSection

LEAST_DEVIATION = 1e-3


def flood_loss(
    section: FloodModelSection,
    forecast: tf.Tensor,
    target: tf.Tensor,
    weight: tf.Tensor,
    scale: tf.Tensor,
) -> tf.Tensor:
    """Sum over all that is known, a scalar.

    The square error relative to that of persistence, whose mean is one minus the persistence
    coefficient (Kitanidis and Bras 1980, doi:10.1029/WR016i006p01034), so that a short lead time
    counts like a long one; the quantile (pinball) loss (Koenker and Bassett 1978,
    doi:10.2307/1913643), relative too; or the negative log likelihood of a normal distribution.

    Parameters
    ----------
    section
        Which of them.
    forecast
        Shape (b, l, outputs).
    target, weight
        Shape (b, l).
    scale
        What an error is multiplied by, shape (b, l): one over that of persistence.
    """
    difference = target[..., None] - forecast
    if section.output == "mean":
        loss = tf.square(difference[..., 0] * scale)
    elif section.output == "gaussian":
        deviation = gaussian_deviation(forecast[..., 1])
        loss = 0.5 * tf.square(difference[..., 0] / deviation) + tf.math.log(deviation)
    else:
        level = tf.constant(np.array(section.quantiles), forecast.dtype)
        loss = tf.reduce_mean(tf.maximum(level * difference, (level - 1) * difference), -1) * scale
    return tf.reduce_sum(weight * loss)


def gaussian_deviation(raw: tf.Tensor) -> tf.Tensor:
    """Standard deviation from the network's second output."""
    return tf.nn.softplus(raw) + LEAST_DEVIATION
