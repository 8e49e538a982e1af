"""The nowcasting U-Net.

Lineage: Ronneberger et al. 2015 (doi:10.1007/978-3-319-24574-4_28); the radar form with 13 frames
in, 12 out, filters 32-64-128-256 and a centre of 1024 is the one published with SEVIR (Veillette
et al. 2020). That form has 16,565,900 parameters with its batch normalisation; ours has group
normalisation or none, because batch statistics would depend on each rank's share of the batch.

Shapes: b batch, y rows, x columns; frames are channels.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from hvd_nowcast.config import ModelSection
from hvd_nowcast.models.blocks import double_convolution, layer_precision, up_convolution

# Of the moved frame before training: its weight is 0.88.
TRUST = 2.0
# Of the smooth frame before training, at the first lead time and at the last: 0.12 and 0.88.
SOFTNESS = -2.0, 2.0
# Sides in pixels of the mean that makes a frame smooth; it is taken twice.
SMOOTHING = 15
# Times the scaled field, whose unit is about 3 in the logarithm of rain: a mean between that of
# rain, which a few strong pixels decide, and that of its logarithm, which is too weak.
EXPONENT = 2.25
# Weight of the newest frame in that mean, beside 1 of the moved one: it counts where the moved
# frame is not known for all of the mean.
OUTSIDE = 0.002


def size_multiple(section: ModelSection) -> int:
    """Frame sides must be a multiple of this."""
    return section.stem * 2 ** len(section.filters)


def build_nowcast(section: ModelSection, frames_in: int, frames_out: int) -> keras.Model:
    """Build the network.

    Parameters
    ----------
    section
        Depth, width and options.
    frames_in, frames_out
        Numbers of frames.

    Returns
    -------
    keras.Model
        From ``[inputs (b, y, x, frames_in), valid_inputs (b, y, x, 1)]`` to scaled frames
        ``(b, y, x, frames_out)``, for any y and x that are multiples of `size_multiple`. With
        advection also from the moved frames and where they are known, each of the shape of what
        comes out; with noise also from that, (b, y, x, noise).
    """
    with layer_precision(section.precision):
        return _build(section, frames_in, frames_out)


def _build(section: ModelSection, frames_in: int, frames_out: int) -> keras.Model:
    frames = keras.Input((None, None, frames_in), name="frames")
    valid = keras.Input((None, None, 1), name="valid")
    seen = layers.Concatenate(name="seen")([frames, valid]) if section.mask_channel else frames
    moved = [keras.Input((None, None, frames_out), name=name) for name in ("moved", "valid_moved")]
    moved = moved if section.advection else []
    noise = [keras.Input((None, None, section.noise), name="noise")] if section.noise else []
    shown = _joined("shown", [seen, *moved, *noise])
    features = _decoder(section, *_encoder(section, _fold(section, shown)))
    features = _unfold(section, features, _joined("sharp", [seen, *noise]))
    inputs = [frames, valid, *moved, *noise]
    # A residual network starts as what it adds to: zero change.
    start = "zeros" if section.residual else "glorot_uniform"
    # What comes out is never of lower precision than the data.
    exact = "float64" if section.precision == "float64" else "float32"

    def last_convolution(name: str) -> keras.KerasTensor:
        return layers.Conv2D(frames_out, 1, kernel_initializer=start, dtype=exact, name=name)(
            features
        )

    change = last_convolution("frames_out")
    if not section.residual:
        return keras.Model(inputs, change, name="nowcast")
    last = _LastFrame(dtype=exact, name="last_frame")(frames)
    if section.advection:
        # Members of an ensemble are as sharp as rain is: their mean is smooth.
        gates = [last_convolution(name) for name in ("trust", "softness")[: 1 if noise else 2]]
        advected = _Advected(section.change_share, dtype=exact, name="forecast")
        forecast = advected([change, last, *moved, *gates])
    else:
        forecast = layers.Add(dtype=exact, name="forecast")([change, last])
    return keras.Model(inputs, forecast, name="nowcast")


def _joined(name: str, parts: list[keras.KerasTensor]) -> keras.KerasTensor:
    return parts[0] if len(parts) == 1 else layers.Concatenate(name=name)(parts)


class _Advected(layers.Layer):
    """The change added to a mean of the moved frame, the same made smooth, and the newest one.

    The weights are learnt for each pixel and lead time, and that of the moved frame is 0 where it
    comes from outside the domain. They add up to 1: a network that could let go of all of them made
    them fade, and its forecasts of an hour were too weak. Where rain will be within an hour is
    known to some kilometres only, and a network that cannot take the detail out of the moved frame
    is worse then than its plain mean over that distance.

    Parameters
    ----------
    change_share
        How much of the change is added where the network is not trained.
    """

    def __init__(self, change_share: float, **settings: Any) -> None:
        super().__init__(**settings)
        self._change_share = change_share

    def call(self, inputs: list[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        """Change, newest frame (b, y, x, 1), moved frames, where they are known, trust, softness.

        All but the newest frame have the shape (b, y, x, t); without softness nothing is smooth.
        """
        change, last, moved, known, trust, *softness = inputs
        # Before training the moved frame has most of the weight.
        weight = known * tf.sigmoid(trust + TRUST)
        forecast = last + weight * (moved - last)
        for soft in softness:
            start = tf.cast(tf.linspace(*SOFTNESS, moved.shape[-1]), soft.dtype)
            forecast += tf.sigmoid(soft + start) * (smoothed(last, moved, known) - forecast)
        return forecast + (change if training else self._change_share * change)


def smoothed(last: tf.Tensor, moved: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """Moved frames as the mean rain of their surroundings, beyond their edge that of the nearest.

    Parameters
    ----------
    last
        Newest frame, scaled, shape (b, y, x, 1).
    moved, known
        Moved frames, scaled, and 1 where they are known, else 0, shape (b, y, x, t).

    Returns
    -------
    tf.Tensor
        Scaled frames, shape (b, y, x, t).
    """
    rain = known * tf.math.expm1(EXPONENT * moved) + OUTSIDE * tf.math.expm1(EXPONENT * last)
    mean = _surroundings(rain) / _surroundings(known + OUTSIDE)
    return tf.math.log1p(mean) / EXPONENT


def _surroundings(fields: tf.Tensor) -> tf.Tensor:
    """Mean over a square, twice, which falls off like a bell; at an edge of what there is."""
    for window in ((SMOOTHING, 1), (1, SMOOTHING)) * 2:
        fields = tf.nn.avg_pool2d(fields, window, 1, "SAME")
    return fields


class _LastFrame(layers.Layer):
    """The newest input frame, kept as one channel."""

    def call(self, frames: tf.Tensor) -> tf.Tensor:
        """(b, y, x, frames_in) to (b, y, x, 1)."""
        return frames[..., -1:]


def _fold(section: ModelSection, seen: keras.KerasTensor) -> keras.KerasTensor:
    if section.stem == 1:
        return seen
    width = section.filters[0]
    return layers.Conv2D(
        width,
        2 * section.stem,
        strides=section.stem,
        padding="same",
        activation=section.activation,
        name="stem",
    )(seen)


def _encoder(
    section: ModelSection, features: keras.KerasTensor
) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    skips = []
    for level, filters in enumerate(section.filters):
        features = double_convolution(
            features, filters, section.normalisation, section.activation, f"down{level}"
        )
        skips.append(features)
        features = layers.MaxPooling2D(2, name=f"pool{level}")(features)
    centre = double_convolution(
        features, section.centre, section.normalisation, section.activation, "centre"
    )
    return centre, skips


def _decoder(
    section: ModelSection, features: keras.KerasTensor, skips: list[keras.KerasTensor]
) -> keras.KerasTensor:
    for level in reversed(range(len(section.filters))):
        filters = section.filters[level]
        features = up_convolution(features, filters, 2, f"up{level}")
        features = layers.Concatenate(name=f"join{level}")([features, skips[level]])
        features = double_convolution(
            features, filters, section.normalisation, section.activation, f"merge{level}"
        )
    return features


def _unfold(
    section: ModelSection, features: keras.KerasTensor, seen: keras.KerasTensor
) -> keras.KerasTensor:
    if section.stem == 1:
        return features
    width = section.filters[0]
    features = up_convolution(features, width, section.stem, "unfold")
    features = layers.Concatenate(name="join_input")([features, seen])
    return layers.Conv2D(width, 3, padding="same", activation=section.activation, name="sharpen")(
        features
    )
