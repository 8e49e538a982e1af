"""Samples of a scene: a patch of every modality around a labelled pixel, and its labels.

Shapes: b batch, s side of a patch with its margin, p side of its labels, k bands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hvd_nowcast.config import RegionSection
from hvd_nowcast.loader.batches import NumberedSamples, Shape
from hvd_nowcast.loader.region import mask_of, slices_of
from hvd_nowcast.shards.scene import SceneReader, square, squares

Bands = NDArray[np.float32]
# Rows of the scene that are read at a time to fit the scaling.
ROWS = 256


@dataclass(frozen=True)
class BandScaling:
    """Band values to numbers a network likes: ``z = (value - mean) / deviation``.

    Attributes
    ----------
    mean, deviation
        Of each band over the training pixels, by modality.
    """

    mean: dict[str, tuple[float, ...]]
    deviation: dict[str, tuple[float, ...]]

    @property
    def bands(self) -> dict[str, int]:
        """Number of bands of each modality."""
        return {name: len(values) for name, values in self.mean.items()}

    def inputs(self, modality: str, values: Bands) -> Bands:
        """Scaled values, 0 where missing, then 1 where known: (..., k) to (..., 2 k)."""
        mean, deviation = (
            np.array(part[modality], np.float32) for part in (self.mean, self.deviation)
        )
        scaled = (values - mean) / deviation
        known = np.isfinite(scaled)
        return np.concatenate([np.where(known, scaled, 0.0), known], -1, dtype=np.float32)


def fit_band_scaling(reader: SceneReader, modalities: Sequence[str]) -> BandScaling:
    """Fit on the training pixels of a scene."""
    mean: dict[str, tuple[float, ...]] = {}
    deviation: dict[str, tuple[float, ...]] = {}
    for name in modalities:
        sums = np.zeros((3, reader.manifest.modalities[name]))
        for top, left in squares(reader.manifest.shape, ROWS):
            train = square(reader.split, top, left, ROWS) == 1
            values = reader.window(name, top, left, ROWS)[train].astype(np.float64)
            known = np.isfinite(values)
            filled = np.where(known, values, 0.0)
            sums += [known.sum(0), filled.sum(0), (filled**2).sum(0)]
        count = np.maximum(sums[0], 1)
        centre = sums[1] / count
        spread = np.sqrt(np.maximum(sums[2] / count - centre**2, 0.0))
        mean[name] = tuple(centre.tolist())
        deviation[name] = tuple(np.where(spread > 0, spread, 1.0).tolist())
    return BandScaling(mean, deviation)


class LabelledPatches(NumberedSamples):
    """Patches around the labelled pixels of one split.

    A batch is a dictionary of one ``(b, s, s, 2 k)`` per modality and ``label`` (b, p, p), 0 where
    nothing is to be learnt.

    Parameters
    ----------
    reader
        The scene.
    scaling
        Of its bands.
    split
        Number of the split from 1.
    patch, margin
        Side of the labelled square, and rings around it that are seen.
    dropout
        Share of training samples with a modality hidden.
    flips
        Whether training samples are mirrored and transposed.
    region
        Part of the scene whose labels are learnt from; all of it when None.
    """

    def __init__(
        self,
        reader: SceneReader,
        scaling: BandScaling,
        split: int,
        patch: int,
        margin: int,
        dropout: float,
        flips: bool,
        region: RegionSection | None = None,
    ) -> None:
        self._reader = reader
        self._scaling = scaling
        self._patch, self._margin = patch, margin
        self._dropout, self._flips = dropout, flips
        self._labels = np.where(reader.split == split, reader.labels, 0).astype(np.uint8)
        if region is not None:
            outside = np.ones(self._labels.shape, bool)
            outside[slices_of(region)] = ~mask_of(region)
            self._labels[outside] = 0
        self.pixels = np.argwhere(self._labels > 0)
        self._read = tuple(scaling.bands)

    def read_only(self, modalities: Sequence[str]) -> None:
        """Leave all other modalities unread: this rank has no use for them."""
        self._read = tuple(modalities)

    def __len__(self) -> int:
        """Number of labelled pixels."""
        return len(self.pixels)

    def sample(self, number: int, seed: tuple[int, ...] | None = None) -> dict[str, Any]:
        """The patch around a pixel; turned, and with a modality hidden, where there is a seed."""
        row, column = self.pixels[number] - self._patch // 2
        side = self._patch + 2 * self._margin
        sample: dict[str, Any] = {"label": square(self._labels, row, column, self._patch)}
        for name in self._read:
            values = self._reader.window(name, row - self._margin, column - self._margin, side)
            sample[name] = self._scaling.inputs(name, values)
        return sample if seed is None else self._augmented(sample, np.random.default_rng(seed))

    def _augmented(self, sample: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        names = list(self._scaling.bands)
        hidden, turn = generator.integers(len(names)), int(generator.integers(8))
        # Drawn among all modalities, read or not, so that all ranks hide the same one.
        hiding = generator.random() < self._dropout and len(names) > 1
        if hiding and names[hidden] in sample:
            sample[names[hidden]] = np.zeros_like(sample[names[hidden]])
        if not self._flips:
            return sample
        for name, values in sample.items():
            values = values[:: -1 if turn & 1 else 1, :: -1 if turn & 2 else 1]
            sample[name] = values.swapaxes(0, 1) if turn & 4 else values
        return sample

    def describe_sample(self, number: int) -> str:
        """Row and column of a pixel."""
        row, column = self.pixels[number]
        return f"row {row} column {column}"

    def shapes(self) -> Mapping[str, Shape]:
        """One array per modality, and the labels."""
        side = self._patch + 2 * self._margin
        bands = self._scaling.bands
        shapes: dict[str, Shape] = {
            name: ((side, side, 2 * bands[name]), tf.float32) for name in self._read
        }
        return {**shapes, "label": ((self._patch, self._patch), tf.uint8)}
