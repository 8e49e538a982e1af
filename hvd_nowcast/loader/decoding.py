"""Stored codes to values, as the first operation of a step on the device that trains.

Codes travel to the device in one or two bytes a pixel instead of four for the value and four for
whether there is one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

# Stands for a missing pixel between look-up and mask; values are not negative.
MISSING = -1.0


class CodeTable:
    """A look-up of the value of every code.

    Parameters
    ----------
    values
        Value of each code, NaN for the missing one, shape ``(256,)`` or ``(65536,)``.
    """

    def __init__(self, values: NDArray[np.floating[Any]]) -> None:
        filled = np.where(np.isnan(values), MISSING, np.maximum(values, 0.0))
        self._values = filled.astype(np.float32)

    def __call__(self, codes: tf.Tensor) -> tf.Tensor:
        """Values in float32, `MISSING` where there is none."""
        return look_up(self._values, codes)


def look_up(values: NDArray[np.float32], codes: tf.Tensor) -> tf.Tensor:
    """Value of each code in float32."""
    return tf.gather(tf.constant(values), tf.cast(codes, tf.int32))


def valid_pixels(values: tf.Tensor) -> tf.Tensor:
    """1 where there is a value, 0 where it is `MISSING`."""
    return tf.minimum(values - MISSING, 1.0)
