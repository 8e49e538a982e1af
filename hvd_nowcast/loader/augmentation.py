"""Samples of other scales and rain climates, made from those there are.

A radar the network has never seen has other pixels, faster or slower rain, and more or less of it:
a square taken wider or narrower and brought to the crop is rain of another size and speed, and
rain multiplied by a number is that of another climate.
"""

from __future__ import annotations

import numpy as np

from hvd_nowcast.config import DataSection
from hvd_nowcast.loader.resampling import CodeResampler
from hvd_nowcast.shards.schema import Codes, Packing


class Augmentation:
    """Changes the scale and the intensity of samples; nothing is drawn for what is off.

    Parameters
    ----------
    section
        With ``crop``, ``zoom`` and ``intensity``.
    packing
        How codes are stored.
    """

    def __init__(self, section: DataSection, packing: Packing) -> None:
        self._crop, self._zoom, self._intensity = section.crop, section.zoom, section.intensity
        self._resample = CodeResampler(packing, packing)

    def side(self, generator: np.random.Generator) -> int | None:
        """Side of the square to be cut for a sample; every factor of scale is as likely."""
        if self._crop is None or self._zoom == 1:
            return self._crop
        return round(self._crop * _factor(generator, self._zoom))

    def to_crop(self, codes: Codes, side: int | None) -> Codes:
        """A sample (t, y, x) cut from a square of some side, brought to the crop."""
        if self._crop is None or side is None or side == self._crop:
            return codes
        rows, columns = (max(1, round(size * self._crop / side)) for size in codes.shape[1:])
        return self._resample(codes, (rows, columns))

    def intensity(self, generator: np.random.Generator) -> float:
        """What the rain of a sample is multiplied by."""
        return 1.0 if self._intensity == 1 else _factor(generator, self._intensity)


def _factor(generator: np.random.Generator, most: float) -> float:
    """A factor between 1 / most and most, of uniform logarithm."""
    return float(most ** generator.uniform(-1, 1))
