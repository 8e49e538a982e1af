"""The newest frame of a window moved on, in stored codes: what `extrapolate` gives, rounded.

A training asks for it with every sample, on the core that it trains on.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.loader.motion import (
    MOTION_FRAMES,
    FlowCache,
    MotionField,
    Part,
    estimate_motion,
    grey_levels,
    move,
    take_part,
)
from hvd_nowcast.shards.schema import Codes, Packing

# Motion that is kept for samples of the same window, in bytes.
MOTION_BYTES = 16 << 20


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
        cut = take_part(codes, part)
        sample = np.empty((len(codes) + self._leads, *cut.shape[1:]), codes.dtype)
        seen, come = self._frames_in, self._frames_in + self._leads
        sample[:seen], sample[come:] = cut[:seen], cut[seen:]
        move_codes(codes[seen - 1], self._fill, motion, part, sample[seen:come])
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
    for some, found in move(newest, newest != fill, motion, len(moved), fill, part):
        moved[some] = np.rint(found, out=found)
