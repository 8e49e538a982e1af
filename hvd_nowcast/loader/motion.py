"""Where the rain moves, and what the newest frame is when it moves on.

The motion is a dense inverse search (Kroeger et al. 2016, doi:10.1007/978-3-319-46493-0_29, in
OpenCV's form) between the newest three frames at half resolution, made smooth with the rain as
weight. On DWD radar it forecasts as well as dense Lucas-Kanade and takes a hundredth of the time,
so that a training can afford it for every sample.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.optional import import_opencv
from hvd_nowcast.shards.schema import Codes, Packing

MOTION_FRAMES = 3
# Grey levels: what is wet stands out from what is dry, and each decibel counts alike.
WET_LEVEL, LEVELS_PER_DECIBEL = 20.0, 4.0
# Width of the smoothing in pixels, and of the surroundings of rain whose motion is trusted.
SMOOTHING, SURROUNDINGS = 12.0, 4.0
# The motion of dry places follows from that of rain far away.
DRY_WEIGHT = 1e-3
# Pixels of a side of the cells on which motion is kept; it is smoother than that.
CELL = 8
# Motion that is kept for samples of the same window, in bytes.
MOTION_BYTES = 16 << 20
# Pixels of a large frame around a part that are looked at: rain from farther away does not come in
# an hour.
MARGIN = 144
# Weights of the four pixels around a place, from which it is all known.
ALL_KNOWN = 0.999

Floats = NDArray[np.floating[Any]]
Part = tuple[slice, slice]


def take_part(codes: Codes, part: Part | None) -> Codes:
    """Rows and columns of a window, shape (t, y, x), or all of it."""
    return codes if part is None else codes[:, part[0], part[1]]


def surroundings(part: Part) -> tuple[Part, Part]:
    """A part of a frame with a margin around it, and where the part lies in that."""
    wide = [slice(max(0, side.start - MARGIN), side.stop + MARGIN) for side in part]
    inside = [
        slice(side.start - around.start, side.stop - around.start)
        for side, around in zip(part, wide, strict=True)
    ]
    return (wide[0], wide[1]), (inside[0], inside[1])


def grey_levels(values: Floats, wet_threshold: float) -> NDArray[np.uint8]:
    """Rain as an image, uint8 of the shape of the values; missing is dry.

    Parameters
    ----------
    values
        Physical values, NaN where missing.
    wet_threshold
        Weakest value that counts as rain.
    """
    wet = np.nan_to_num(values) >= wet_threshold
    decibel = 10.0 * np.log10(np.where(wet, values, wet_threshold) / wet_threshold)
    levels = np.where(wet, WET_LEVEL + LEVELS_PER_DECIBEL * decibel, 0.0)
    return np.minimum(levels, 255.0).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class MotionField:
    """Motion of the rain in pixels a frame, to the right and down.

    Attributes
    ----------
    cells
        In the middle of cells that divide the frame evenly, shape (2, rows, columns).
    shape
        Rows and columns of the frame.
    """

    cells: NDArray[np.float32]
    shape: tuple[int, int]

    def on(self, part: Part | None = None) -> NDArray[np.float32]:
        """Motion of each pixel of a part, or of all, shape (2, y, x)."""
        cv2 = _opencv()
        y, x = _pixels(self.shape, part)
        rows, columns = self.cells.shape[1:]
        places = (
            (x + 0.5) * np.float32(columns / self.shape[1]) - 0.5,
            (y + 0.5) * np.float32(rows / self.shape[0]) - 0.5,
        )
        way = {"interpolation": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
        return np.stack([cv2.remap(side, *places, **way) for side in self.cells])


def estimate_motion(images: NDArray[np.uint8]) -> MotionField:
    """Motion of the rain.

    Parameters
    ----------
    images
        Grey levels of the newest frames, shape (t, y, x) with at least two times, oldest first.

    Raises
    ------
    MissingDependencyError
        When OpenCV is not installed.
    """
    cv2 = _opencv()
    rows, columns = images.shape[1:]
    half = (max(1, columns // 2), max(1, rows // 2))
    cells = (max(1, columns // CELL), max(1, rows // CELL))
    small = [cv2.resize(image, half, interpolation=cv2.INTER_AREA) for image in images]
    if not small[-1].any() or min(half) < 16:
        return MotionField(np.zeros((2, *cells[::-1]), np.float32), (rows, columns))
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    pairs = zip(small[:-1], small[1:], strict=True)
    flow = np.mean([search.calc(before, after, None) for before, after in pairs], 0)
    trust = cv2.GaussianBlur((small[-1] > 0).astype(np.float32), (0, 0), SURROUNDINGS / 2)
    trust = np.minimum(trust + DRY_WEIGHT, 1.0)
    total = cv2.GaussianBlur(trust, (0, 0), SMOOTHING / 2)
    scale = columns / half[0], rows / half[1]
    smooth = [
        cv2.GaussianBlur(flow[..., side] * trust, (0, 0), SMOOTHING / 2) / total * scale[side]
        for side in (0, 1)
    ]
    coarse = [cv2.resize(part, cells, interpolation=cv2.INTER_AREA) for part in smooth]
    return MotionField(np.stack(coarse).astype(np.float32), (rows, columns))


def extrapolate(
    frame: Floats,
    motion: NDArray[np.float32],
    leads: int,
    part: Part | None = None,
) -> NDArray[np.float32]:
    """The frame moved on along straight lines, NaN where the rain would come from outside.

    Parameters
    ----------
    frame
        Newest frame, NaN where missing, shape (y, x).
    motion
        Pixels a frame to the right and down, shape (2, rows, columns) of the part.
    leads
        Number of frames to make.
    part
        Rows and columns that are wanted; all when None.

    Returns
    -------
    numpy.ndarray
        Shape (leads, rows, columns).
    """
    cv2 = _opencv()
    y, x = _pixels(frame.shape, part)
    right, down = motion
    # NaN would spread to neighbours that have no weight.
    values = np.dstack([np.nan_to_num(frame), np.isfinite(frame)]).astype(np.float32)
    way = {"interpolation": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_CONSTANT}
    moved = np.empty((leads, *x.shape), np.float32)
    for lead in range(1, leads + 1):
        value, known = cv2.split(cv2.remap(values, x - lead * right, y - lead * down, **way))
        moved[lead - 1] = np.where(known < ALL_KNOWN, np.nan, value)
    return moved


def _pixels(shape: tuple[int, ...], part: Part | None) -> NDArray[np.float32]:
    """Row and column number of each pixel of a part, shape (2, y, x)."""
    rows, columns = part or (slice(0, shape[0]), slice(0, shape[1]))
    return np.mgrid[rows, columns].astype(np.float32)


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
        self._packing = packing
        self._grey = grey_levels(packing.table(), wet_threshold)
        self._frames_in, self._leads = frames_in, leads
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
        fill = self._packing.fill
        seen = np.where(newest == fill, np.nan, newest.astype(np.float32))
        moved = extrapolate(seen, motion, self._leads, part)
        found = np.where(np.isnan(moved), fill, np.rint(np.nan_to_num(moved)))
        before, after = cut[: self._frames_in], cut[self._frames_in :]
        return np.concatenate([before, found.astype(codes.dtype), after])

    def _motion(self, codes: Codes, window: Hashable) -> MotionField:
        if window in self._motions:
            return self._motions[window]
        newest = codes[max(0, self._frames_in - MOTION_FRAMES) : self._frames_in]
        motion = estimate_motion(self._grey[newest])
        if window is not None and (len(self._motions) + 1) * motion.cells.nbytes <= MOTION_BYTES:
            self._motions[window] = motion
        return motion


def _opencv() -> Any:
    return import_opencv("the motion of rain needs OpenCV")
