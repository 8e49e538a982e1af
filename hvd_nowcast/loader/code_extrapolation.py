"""The newest frame of a window moved on, in stored codes: what `extrapolate` gives, in less time.

A training asks for it with every sample, on the core that it trains on.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.loader.motion import (
    ALL_KNOWN,
    MOTION_FRAMES,
    Floats,
    FlowCache,
    MotionField,
    Part,
    estimate_motion,
    extrapolate,
    grey_levels,
    opencv,
    pixels,
    surroundings,
    take_part,
)
from hvd_nowcast.shards.schema import Codes, Packing

# Motion that is kept for samples of the same window, in bytes.
MOTION_BYTES = 16 << 20
# Pixels that are moved in one call: each call costs, and much at once is much memory.
MOVED_PIXELS = 1 << 18
# OpenCV interpolates an image of two layers at so many places along the side of a pixel, one of a
# single layer anywhere. Between whole numbers below the limit, both are exact at those places.
PLACES_PER_PIXEL = 32
EXACT_CODES = (1 << 24) // PLACES_PER_PIXEL**2

Bools = NDArray[np.bool_]


class CodeExtrapolation:
    """Moves stored frames on, in their codes.

    Parameters
    ----------
    packing
        How codes are stored.
    wet_threshold
        Weakest value that counts as rain.
    frames_in, leads
        Frames of a window that are seen, and frames to make.
    """

    def __init__(self, packing: Packing, wet_threshold: float, frames_in: int, leads: int) -> None:
        self._fill = packing.fill
        self._grey = grey_levels(packing.table(), wet_threshold)
        self._frames_in, self._leads = frames_in, leads
        self._flow = FlowCache()
        self._motions: dict[Hashable, MotionField] = {}

    def __call__(self, codes: Codes, part: Part | None = None, window: Hashable = None) -> Codes:
        """A part of a window with the moved frames between those that are seen and those to come.

        Parameters
        ----------
        codes
            Whole frames of a window, shape (t, y, x).
        part
            Rows and columns that are wanted; all when None.
        window
            Which it is, so that the motion is sought once for all samples of it.
        """
        motion = self._motion(codes, window).on(part)
        newest, cut = codes[self._frames_in - 1], take_part(codes, part)
        if part is not None:
            near, part = surroundings(part)
            newest = newest[near]
        sample = np.empty((len(codes) + self._leads, *cut.shape[1:]), codes.dtype)
        seen, come = self._frames_in, self._frames_in + self._leads
        sample[:seen], sample[come:] = cut[:seen], cut[seen:]
        move_codes(newest, self._fill, motion, part, sample[seen:come])
        return sample

    def _motion(self, codes: Codes, window: Hashable) -> MotionField:
        if window in self._motions:
            return self._motions[window]
        newest = codes[max(0, self._frames_in - MOTION_FRAMES) : self._frames_in]
        motion = estimate_motion(self._grey.take(newest), self._flow)
        if window is not None and (len(self._motions) + 1) * motion.cells.nbytes <= MOTION_BYTES:
            self._motions[window] = motion
        return motion


def move_codes(
    newest: Codes, fill: int, motion: NDArray[np.float32], part: Part | None, moved: Codes
) -> None:
    """Fill in a frame moved on to each lead time: what `extrapolate` gives, in whole numbers.

    Parameters
    ----------
    newest
        The frame, shape (y, x).
    fill
        Code of a missing pixel, there and where the rain would come from outside.
    motion
        Pixels a frame to the right and down, shape (2, rows, columns) of the part.
    part
        Rows and columns that are wanted; all when None.
    moved
        Filled in, shape (leads, rows, columns).
    """
    known = newest != fill
    values = newest * known.astype(np.float32)
    if values.max() >= EXACT_CODES:
        values[~known] = np.nan
        found = extrapolate(values, motion, len(moved), part)
        moved[:] = np.where(np.isnan(found), fill, np.rint(np.nan_to_num(found)))
        return
    together = max(1, MOVED_PIXELS // motion[0].size)
    all_known = _all_known(known, motion, len(moved), part)
    weights = known.astype(np.float32)
    for first in range(0, len(moved), together):
        some = moved[first : first + together]
        places = _places(newest.shape, motion, part, np.arange(len(some)) + first + 1)
        found = _interpolated(values, places)
        some[:] = np.rint(found, out=found)
        if not all_known:
            some[_interpolated(weights, places) < ALL_KNOWN] = fill


def _places(
    shape: tuple[int, ...], motion: NDArray[np.float32], part: Part | None, leads: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Columns and rows from which the rain comes, shapes (leads, rows, columns)."""
    y, x = pixels(shape, part)
    steps = (PLACES_PER_PIXEL * leads.astype(np.float32))[:, None, None]
    places = steps * motion[0], steps * motion[1]
    for pixel, place in zip((x, y[:, None]), places, strict=True):
        # In one array, and as a product: each new array and each division would take its time.
        np.subtract(PLACES_PER_PIXEL * pixel, place, out=place)
        np.rint(place, out=place)
        np.multiply(place, np.float32(1 / PLACES_PER_PIXEL), out=place)
    return places


def _interpolated(image: Floats, places: tuple[Floats, Floats]) -> Floats:
    """An image at some places, 0 outside."""
    cv2 = opencv()
    x, y = (side.reshape(-1, side.shape[-1]) for side in places)
    found = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return found.reshape(places[0].shape)


def _all_known(known: Bools, motion: NDArray[np.float32], leads: int, part: Part | None) -> bool:
    """Whether all around the places from which the rain comes is known; a quick look."""
    box = []
    for pixel, side, size in zip(pixels(known.shape, part), motion[::-1], known.shape, strict=True):
        first = pixel[0] - leads * max(side.max(), 0) - 1
        last = pixel[-1] - leads * min(side.min(), 0) + 1
        if first < 0 or last > size - 1:
            return False
        box.append(slice(int(first), int(last) + 2))
    return bool(known[box[0], box[1]].all())
