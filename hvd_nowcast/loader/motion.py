"""Where the rain moves, and what the newest frame is when it moves on.

The motion is a dense inverse search (Kroeger et al. 2016, doi:10.1007/978-3-319-46493-0_29, in
OpenCV's form) between the newest three frames at half resolution, made smooth with the rain as
weight. On DWD radar it forecasts as well as dense Lucas-Kanade and takes a hundredth of the time,
so that a training can afford it for every sample.
"""

from __future__ import annotations

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
# Of a large frame only so many pixels around a part are looked at: rain from farther away does not
# come in an hour.
MARGIN = 144
# Pixels around a part of a large frame that its motion and what moves into it are taken from: an
# hour of rain at 100 km/h on pixels of 1 km.
REACH = 96
# Weights of the four pixels around a place, from which it is all known.
ALL_KNOWN = 0.999

Floats = NDArray[np.floating[Any]]


Part = tuple[slice, slice]


def take_part(codes: Codes, part: Part | None) -> Codes:
    """Rows and columns of a window, shape (t, y, x), or all of it."""
    return codes if part is None else codes[:, part[0], part[1]]


def surroundings(codes: Codes, part: Part) -> tuple[Codes, Part]:
    """A window with a margin around a part, shape (t, y, x), and where the part lies in it."""
    wide = tuple(slice(max(0, side.start - MARGIN), side.stop + MARGIN) for side in part)
    rows, columns = (
        slice(side.start - around.start, side.stop - around.start)
        for side, around in zip(part, wide, strict=True)
    )
    return codes[:, wide[0], wide[1]], (rows, columns)


def take_surroundings(codes: Codes, part: Part) -> tuple[Codes, Part]:
    """A part of a window with `REACH` pixels around it, and where the part lies in that."""
    near = tuple(
        slice(max(0, one.start - REACH), min(size, one.stop + REACH))
        for one, size in zip(part, codes.shape[1:], strict=True)
    )
    inner = tuple(
        slice(one.start - wide.start, one.stop - wide.start)
        for one, wide in zip(part, near, strict=True)
    )
    return codes[:, near[0], near[1]], (inner[0], inner[1])


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


def estimate_motion(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Motion of the rain in pixels a frame, to the right and down, shape (2, y, x).

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
    small = [cv2.resize(image, half, interpolation=cv2.INTER_AREA) for image in images]
    if not small[-1].any() or min(half) < 16:
        return np.zeros((2, rows, columns), np.float32)
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
    return np.stack([cv2.resize(part, (columns, rows)) for part in smooth]).astype(np.float32)


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
        Of `estimate_motion`, shape (2, y, x).
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
    rows, columns = part or (slice(0, frame.shape[0]), slice(0, frame.shape[1]))
    y, x = np.mgrid[rows, columns].astype(np.float32)
    right, down = motion[:, rows, columns]
    # NaN would spread to neighbours that have no weight.
    known = np.isfinite(frame).astype(np.float32)
    values = np.nan_to_num(frame).astype(np.float32)

    def at_source(field: NDArray[np.float32], lead: int) -> NDArray[np.float32]:
        border = cv2.BORDER_CONSTANT
        places = x - lead * right, y - lead * down
        return cv2.remap(field, *places, cv2.INTER_LINEAR, borderMode=border, borderValue=0.0)

    moved = np.empty((leads, *x.shape), np.float32)
    for lead in range(1, leads + 1):
        moved[lead - 1] = at_source(values, lead)
        moved[lead - 1][at_source(known, lead) < ALL_KNOWN] = np.nan
    return moved


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

    def __call__(self, codes: Codes, part: Part | None = None) -> Codes:
        """A part of a window with the moved frames between those that are seen and those to come.

        Parameters
        ----------
        codes
            Whole frames of a window, shape (t, y, x).
        part
            Rows and columns that are wanted; all when None.
        """
        if part is not None:
            codes, part = surroundings(codes, part)
        if part is not None:
            codes, part = take_surroundings(codes, part)
        seen = codes[: self._frames_in]
        motion = estimate_motion(self._grey[seen[-MOTION_FRAMES:]])
        newest = np.where(seen[-1] == self._packing.fill, np.nan, seen[-1].astype(np.float32))
        moved = extrapolate(newest, motion, self._leads, part)
        found = np.where(np.isnan(moved), self._packing.fill, np.rint(np.nan_to_num(moved)))
        cut = take_part(codes, part)
        before, after = cut[: self._frames_in], cut[self._frames_in :]
        return np.concatenate([before, found.astype(codes.dtype), after])


def _opencv() -> Any:
    return import_opencv("the motion of rain needs OpenCV")
