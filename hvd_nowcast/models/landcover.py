"""The multi-modal land-cover network: a convolution branch per modality, and a head.

As in Aspri et al. (2020, doi:10.3390/rs12172670), whose layers are not public. All convolutions
are without padding, so a pixel's class depends on the same ring of pixels in a patch and in a tile
of any size, and a map is computed without doing anything twice.

Shapes: b batch, y rows, x columns, k bands, f features, c classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
from keras import layers

from hvd_nowcast.config import LandcoverModelSection
from hvd_nowcast.models.blocks import layer_precision

EVERYTHING = "all"


@dataclass(frozen=True)
class LandcoverNetwork:
    """The network and its parts, which share their variables.

    Attributes
    ----------
    model
        From ``{modality: (b, y, x, 2 k)}``, values and whether they are known, to class scores
        (b, y - 2 margin, x - 2 margin, c).
    branches
        Each from its modality to features (b, y - 2 margin, x - 2 margin, f).
    inputs
        Modalities of each branch.
    tail
        From the features of all branches, joined, to the class scores.
    """

    model: keras.Model
    branches: tuple[keras.Model, ...]
    inputs: tuple[tuple[str, ...], ...]
    tail: keras.Model


def build_landcover(
    section: LandcoverModelSection, bands: Mapping[str, int], classes: int
) -> LandcoverNetwork:
    """Build the network.

    Parameters
    ----------
    section
        Fusion and widths.
    bands
        Number of bands of each modality.
    classes
        Number of classes.
    """
    with layer_precision(section.precision):
        return _build(section, bands, classes)


def _build(
    section: LandcoverModelSection, bands: Mapping[str, int], classes: int
) -> LandcoverNetwork:
    inputs = {
        name: keras.Input((None, None, 2 * count), name=name) for name, count in bands.items()
    }
    groups = (tuple(bands),) if section.fusion == "early" else tuple((name,) for name in bands)
    width = classes if section.fusion == "late" else section.features
    branches = tuple(
        _branch(section, [inputs[name] for name in group], width, _name(group)) for group in groups
    )
    features = [
        branch([inputs[name] for name in group])
        for branch, group in zip(branches, groups, strict=True)
    ]
    joined = layers.Concatenate(name="joined")(features) if len(features) > 1 else features[0]
    tail = _tail(section, width, len(branches), classes)
    return LandcoverNetwork(
        keras.Model(inputs, tail(joined), name="landcover"), branches, groups, tail
    )


def _name(group: tuple[str, ...]) -> str:
    return group[0] if len(group) == 1 else EVERYTHING


def _branch(
    section: LandcoverModelSection, inputs: list[keras.KerasTensor], width: int, name: str
) -> keras.Model:
    seen = layers.Concatenate(name=f"{name}_bands")(inputs) if len(inputs) > 1 else inputs[0]
    for number, filters in enumerate(section.filters):
        seen = layers.Conv2D(filters, 3, activation="relu", name=f"{name}_convolution{number}")(
            seen
        )
    activation = None if section.fusion == "late" else "relu"
    features = layers.Conv2D(width, 1, activation=activation, name=f"{name}_features")(seen)
    return keras.Model(inputs, features, name=f"{name}_branch")


def _tail(section: LandcoverModelSection, width: int, branches: int, classes: int) -> keras.Model:
    joined = keras.Input((None, None, width * branches), name="features")
    if section.fusion == "late":
        # The mean of the branches' scores, with a weight that is learnt for each.
        scores = layers.Conv2D(classes, 1, name="scores", kernel_initializer=_mean_of(branches))
    else:
        scores = layers.Conv2D(classes, 1, name="scores")
    seen = joined
    if section.fusion != "late":
        seen = layers.Conv2D(section.head, 1, activation="relu", name="head")(seen)
    return keras.Model(joined, scores(seen), name="tail")


def _mean_of(branches: int) -> keras.initializers.Initializer:
    class MeanOfBranches(keras.initializers.Initializer):
        """Score of a class: the mean of the branches' scores of it."""

        def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> keras.KerasTensor:
            eye = keras.ops.tile(keras.ops.eye(shape[-1], dtype=dtype), (branches, 1))
            return keras.ops.reshape(eye / branches, shape)

    return MeanOfBranches()
