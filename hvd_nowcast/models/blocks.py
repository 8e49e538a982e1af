"""Layers that several networks share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
from keras import layers

GROUPS = 8


@contextmanager
def layer_precision(policy: str) -> Iterator[None]:
    """Layers made inside have this Keras dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def normalisation(kind: str, name: str) -> list[keras.Layer]:
    """Normalisation layers of a kind; none of them depends on the size of the local batch.

    Parameters
    ----------
    kind
        ``none``, ``group`` (Wu and He 2018, doi:10.1007/s11263-019-01198-w) or ``layer``.
    name
        Prefix of the layer's name.
    """
    groups = {"none": 0, "group": GROUPS, "layer": 1}[kind]
    return [layers.GroupNormalization(groups, name=f"{name}_norm")] if groups else []


def double_convolution(
    tensor: keras.KerasTensor, filters: int, norm: str, activation: str, name: str
) -> keras.KerasTensor:
    """Two 3 x 3 convolutions, each normalised and activated."""
    for part in ("a", "b"):
        tensor = layers.Conv2D(filters, 3, padding="same", name=f"{name}{part}")(tensor)
        for layer in normalisation(norm, f"{name}{part}"):
            tensor = layer(tensor)
        tensor = layers.Activation(activation, name=f"{name}{part}_{activation}")(tensor)
    return tensor


def up_convolution(
    tensor: keras.KerasTensor, filters: int, side: int, name: str
) -> keras.KerasTensor:
    """Transposed convolution that enlarges each side by a factor, without overlap."""
    return layers.Conv2DTranspose(filters, side, strides=side, name=name)(tensor)
