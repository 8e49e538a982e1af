"""Frames to pixels of another size, in values and in stored codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.optional import import_opencv
from hvd_nowcast.shards.schema import Codes, Packing

Array = NDArray[np.float32]

# Pixels whose size differs by less are taken as they are.
LARGEST_SPACING_CHANGE = 0.1
# Share of a new pixel that must be known for it to have a value.
LEAST_KNOWN = 0.5


def resampled_shape(shape: tuple[int, ...], ratio: float) -> tuple[int, int]:
    """Rows and columns of a frame whose pixels become so many times as many along each side."""
    return max(1, round(shape[0] * ratio)), max(1, round(shape[1] * ratio))


def resample(frames: Array, shape: tuple[int, ...]) -> Array:
    """Frames on as many pixels as wanted, over the same area.

    Fewer pixels are means over their area, more are interpolated between the centres of the old
    ones (bilinear): both keep the mean rain of an area, which nearest neighbours do not. Values
    are means of what is known; a pixel of which less than half is known is missing.

    Parameters
    ----------
    frames
        Physical values, NaN where missing, shape (t, y, x).
    shape
        Rows and columns.

    Raises
    ------
    MissingDependencyError
        When OpenCV is not installed.
    """
    if frames.shape[1:] == shape:
        return frames
    cv2 = import_opencv("frames of another pixel size need OpenCV")
    fewer = shape[0] * shape[1] < frames.shape[1] * frames.shape[2]
    way = cv2.INTER_AREA if fewer else cv2.INTER_LINEAR
    found = np.empty((len(frames), *shape), np.float32)
    for frame, new in zip(frames, found, strict=True):
        missing = np.isnan(frame)
        new[:] = cv2.resize(
            np.where(missing, 0, frame).astype(np.float32), shape[::-1], None, 0, 0, way
        )
        if missing.any():
            known = cv2.resize((~missing).astype(np.float32), shape[::-1], None, 0, 0, way)
            new[:] = np.where(known >= LEAST_KNOWN, new / np.maximum(known, LEAST_KNOWN), np.nan)
    return found


class CodeResampler:
    """Resamples stored frames and packs them again.

    Parameters
    ----------
    source, target
        How the codes are stored, and shall be.
    """

    def __init__(self, source: Packing, target: Packing) -> None:
        self._table = source.table()
        self._target = target
        self._largest = largest_value(target)

    def __call__(self, codes: Codes, shape: tuple[int, int]) -> Codes:
        """Codes (t, y, x) on so many rows and columns over the same area."""
        values = resample(self._table[codes], shape)
        return self._target.encode(np.minimum(values, self._largest))


def largest_value(packing: Packing) -> float:
    """Largest value that can be stored."""
    return float(np.nanmax(packing.table()))


def recoding_table(source: Packing, target: Packing) -> Codes:
    """Code in one packing of every code of another; what is too large is the largest there is."""
    return target.encode(np.minimum(source.table(), largest_value(target)))
