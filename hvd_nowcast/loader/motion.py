"""Where the rain moves, and what the newest frame is when it moves on.

The motion is a dense inverse search (Kroeger et al. 2016, doi:10.1007/978-3-319-46493-0_29, in
OpenCV's form) between the newest three frames at half resolution, made smooth with the rain as
weight. On DWD radar it forecasts as well as dense Lucas-Kanade and takes a hundredth of the time,
so that a training can afford it for every sample.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.loader.scratch import ScratchFile
from hvd_nowcast.optional import import_opencv
from hvd_nowcast.shards.schema import Codes

MOTION_FRAMES = 3
# Grey levels: what is wet stands out from what is dry, and each decibel counts alike.
WET_LEVEL, LEVELS_PER_DECIBEL = 20.0, 4.0
# Width of the smoothing in pixels, and of the surroundings of rain whose motion is trusted.
SMOOTHING, SURROUNDINGS = 12.0, 4.0
# The motion of dry places follows from that of rain far away.
DRY_WEIGHT = 1e-3
# Pixels of a side of the cells on which motion is kept; it is smoother than that.
CELL = 8
# Motion between two frames that is kept, see `ScratchFile`.
FLOW_BYTES = 256 << 20
# Pixels of a large frame around a part that are looked at: rain from farther away does not come in
# an hour.
MARGIN = 144
# Weights of the four pixels around a place, from which it is all known.
ALL_KNOWN = 0.999

Floats = NDArray[np.floating[Any]]
Image = NDArray[np.uint8]
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
        cv2 = opencv()
        y, x = pixels(self.shape, part)
        rows, columns = self.cells.shape[1:]
        places = np.meshgrid(
            (x + 0.5) * np.float32(columns / self.shape[1]) - 0.5,
            (y + 0.5) * np.float32(rows / self.shape[0]) - 0.5,
        )
        motion = np.empty((2, *places[0].shape), np.float32)
        way = {"interpolation": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
        for side, found in zip(self.cells, motion, strict=True):
            cv2.remap(side, *places, dst=found, **way)
        return motion


def search_flow(before: Image, after: Image) -> NDArray[np.float32]:
    """Pixels to the right and down that each pixel of an image moves, shape (y, x, 2)."""
    cv2 = opencv()
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow: NDArray[np.float32] = search.calc(before, after, None)
    return flow


class FlowCache:
    """`search_flow` that seeks the flow of the same two images once and keeps it in a scratch file.

    Windows that begin a frame apart share one of their two flows.
    """

    def __init__(self) -> None:
        self._scratch = ScratchFile(FLOW_BYTES)
        self._places: dict[Hashable, int] = {}

    def __call__(self, before: Image, after: Image) -> NDArray[np.float32]:
        """Flow between two images of one shape, see `search_flow`."""
        key = after.shape, blake2b(before.data).digest(), blake2b(after.data).digest()
        flow = np.empty((*after.shape, 2), np.float32)
        if key in self._places and self._scratch.read(flow, self._places[key]):
            return flow
        flow = search_flow(before, after)
        place = self._scratch.keep(flow)
        if place is not None:
            self._places[key] = place
        return flow


def estimate_motion(
    images: NDArray[np.uint8], search: Callable[[Image, Image], Floats] = search_flow
) -> MotionField:
    """Motion of the rain.

    Parameters
    ----------
    images
        Grey levels of the newest frames, shape (t, y, x) with at least two times, oldest first.
    search
        Finds the flow between two images; a `FlowCache` where the same come again.

    Raises
    ------
    MissingDependencyError
        When OpenCV is not installed.
    """
    cv2 = opencv()
    rows, columns = images.shape[1:]
    half = (max(1, columns // 2), max(1, rows // 2))
    cells = (max(1, columns // CELL), max(1, rows // CELL))
    small = [cv2.resize(image, half, interpolation=cv2.INTER_AREA) for image in images]
    if not small[-1].any() or min(half) < 16:
        return MotionField(np.zeros((2, *cells[::-1]), np.float32), (rows, columns))
    flow = np.mean([search(before, after) for before, after in pairwise(small)], 0)
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
    cv2 = opencv()
    y, x = pixels(frame.shape, part)
    y = y[:, None]
    right, down = motion
    # NaN would spread to neighbours that have no weight.
    values = np.dstack([np.nan_to_num(frame), np.isfinite(frame)]).astype(np.float32)
    way = {"interpolation": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_CONSTANT}
    moved = np.empty((leads, *right.shape), np.float32)
    for lead in range(1, leads + 1):
        value, known = cv2.split(cv2.remap(values, x - lead * right, y - lead * down, **way))
        moved[lead - 1] = np.where(known < ALL_KNOWN, np.nan, value)
    return moved


def pixels(
    shape: tuple[int, ...], part: Part | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Row numbers and column numbers of a part."""
    rows, columns = part or (slice(0, shape[0]), slice(0, shape[1]))
    return (
        np.arange(rows.start, rows.stop, dtype=np.float32),
        np.arange(columns.start, columns.stop, dtype=np.float32),
    )


def opencv() -> Any:
    """OpenCV, see `import_opencv`."""
    return import_opencv("the motion of rain needs OpenCV")
