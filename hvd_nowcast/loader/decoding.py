"""Stored codes to scaled values, as the first operation of a step on the device that trains.

Codes travel to the device in one or two bytes a pixel instead of four for the value and four for
whether there is one.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hvd_nowcast.loader.scaling import LinearScaling, Scaling
from hvd_nowcast.shards.schema import CODE_COUNTS, Packing


class Decoder:
    """Codes to scaled values and where there are any.

    By arithmetic: a look-up of every code in a table takes TensorFlow twice the time.

    Parameters
    ----------
    packing
        How codes are stored.
    scaling
        Of the values.
    """

    def __init__(self, packing: Packing, scaling: Scaling) -> None:
        self._packing, self._scaling = packing, scaling

    def __call__(
        self,
        codes: tf.Tensor,
        intensity: tf.Tensor | None = None,
        axes: tuple[int, ...] | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scaled values, 0 where missing and never negative, and 1 where there is one; float32.

        Parameters
        ----------
        codes
            Whole numbers of any type, shape (b, ...).
        intensity
            What the values of each sample are multiplied by before they are scaled, shape (b,).
        axes
            Order of the axes of what comes out; as they are when None.
        """
        packing = self._packing
        # Not the codes themselves: TensorFlow would transpose before it casts, and complains of a
        # transpose of other types than float32 on many processors.
        below_missing = packing.fill - tf.cast(codes, tf.float32)
        if axes is not None:
            below_missing = tf.transpose(below_missing, axes)
        is_largest = packing.fill == CODE_COUNTS[packing.dtype] - 1
        known = tf.minimum(below_missing if is_largest else tf.abs(below_missing), 1.0)
        counts = packing.fill - below_missing
        if packing.offset:
            counts = tf.nn.relu(counts + packing.offset / packing.scale)
        unit: tf.Tensor | float = packing.scale
        if intensity is not None:
            unit *= tf.reshape(intensity, (-1, *[1] * (len(codes.shape) - 1)))
        return self._scaled(known * counts, unit), known

    def _scaled(self, counts: tf.Tensor, unit: tf.Tensor | float) -> tf.Tensor:
        # The same formulas as Scaling.forward; what is constant is gathered into one factor,
        # because each operation passes through memory once.
        scaling = self._scaling
        if isinstance(scaling, LinearScaling):
            return counts * (unit / scaling.scale)
        return tf.math.log(counts * (unit / scaling.reference) + 1.0) * (1.0 / scaling.scale)


def look_up(values: NDArray[np.float32], codes: tf.Tensor) -> tf.Tensor:
    """Value of each code in float32."""
    return tf.gather(tf.constant(values), tf.cast(codes, tf.int32))
