"""Samples of other scales and rain climates, made from those there are.

A radar the network has never seen has other pixels, faster or slower rain, and more or less of it:
a square taken wider or narrower and brought to the crop is rain of another size and speed, and
rain multiplied by a number is that of another climate.
"""

from __future__ import annotations

import numpy as np

from hvd_nowcast.config import DataSection
from hvd_nowcast.loader.resampling import CodeResampler, largest_value
from hvd_nowcast.shards.schema import Codes, Packing

# Intensities between 1 and the largest; a table of codes is kept for each.
INTENSITY_STEPS = 16


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
        self._packing = packing
        self._recodings: dict[int, Codes] = {}
        self._resample = CodeResampler(packing, packing)

    def side(self, generator: np.random.Generator) -> int | None:
        """Side of the square to be cut for a sample; every factor of scale is as likely."""
        if self._crop is None or self._zoom == 1:
            return self._crop
        return round(self._crop * _factor(generator, self._zoom))

    def __call__(self, codes: Codes, side: int | None, generator: np.random.Generator) -> Codes:
        """A sample (t, y, x) cut from a square of some side, brought to the crop."""
        if self._crop is not None and side is not None and side != self._crop:
            rows, columns = (max(1, round(size * self._crop / side)) for size in codes.shape[1:])
            codes = self._resample(codes, (rows, columns))
        if self._intensity == 1:
            return codes
        recoding = self._recoding(int(generator.integers(-INTENSITY_STEPS, INTENSITY_STEPS + 1)))
        # Every code is in the table: wrapping never happens, and is the fastest of the modes.
        return recoding.take(codes, mode="wrap")

    def _recoding(self, step: int) -> Codes:
        """Code of each code's rain times a factor; the factors are evenly spaced in logarithm."""
        if step not in self._recodings:
            factor = np.float32(self._intensity ** (step / INTENSITY_STEPS))
            stronger = np.minimum(factor * self._packing.table(), largest_value(self._packing))
            self._recodings[step] = self._packing.encode(stronger)
        return self._recodings[step]


def _factor(generator: np.random.Generator, most: float) -> float:
    """A factor between 1 / most and most, of uniform logarithm."""
    return float(most ** generator.uniform(-1, 1))
