"""Where the rain moves, and what the newest frame is when it moves on.

The motion is a dense inverse search (Kroeger et al. 2016, doi:10.1007/978-3-319-46493-0_29, in
OpenCV's form) between the newest three frames at half resolution, made smooth with the rain as
weight. On DWD radar it forecasts as well as dense Lucas-Kanade and takes a hundredth of the time,
so that a training can afford it for every sample.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache
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
# Pixels that are moved in one call: each call costs, and much at once is much memory.
MOVED_PIXELS = 1 << 18
# Motion is rounded to this part of a pixel: sums of it are exact in float32, so that a crop is
# moved to the last bit as the whole frame is.
STEP = np.float32(2.0**-10)
# What a missing pixel has while its frame is moved: every mean that it has a share in exceeds the
# limit.
MISSING, LIMIT = 1e30, 1e15

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Image = NDArray[np.uint8]
Part = tuple[slice, slice]


def take_part(codes: Codes, part: Part | None) -> Codes:
    """Rows and columns of a window, shape (t, y, x), or all of it."""
    return codes if part is None else codes[:, part[0], part[1]]


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
        """Motion of each pixel of a part, or of all, in whole `STEP`s, shape (2, y, x)."""
        spans, counts = part or whole(self.shape), self.cells.shape[1:]
        (row, lower), (column, right) = (
            (before[span], share[span])
            for span, (before, share) in zip(
                spans, map(_cells_before, self.shape, counts), strict=True
            )
        )
        cells = self.cells[:, row[0] : row[-1] + 2]
        motion = _between(cells, column, right, 2)
        motion = _between(motion, row - row[0], lower[:, None], 1)
        return np.rint(motion / STEP) * STEP


@lru_cache(maxsize=16)
def _cells_before(size: int, count: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The cell before each pixel of a side, and the share of the way to the middle of the next."""
    middles = np.arange(size, dtype=np.float32) + 0.5
    places = (middles * np.float32(count / size) - 0.5).clip(0, count - 1)
    before = places.astype(np.intp)
    return before, places - before.astype(np.float32)


def _between(
    values: NDArray[np.float32],
    before: NDArray[np.intp],
    share: NDArray[np.float32],
    axis: int,
) -> NDArray[np.float32]:
    """Linear interpolation along an axis."""
    first, after = values.take(before, axis), values.take(before + 1, axis, mode="clip")
    return first + (after - first) * share


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
        if key in self._places:
            kept = self._scratch.read(self._places[key], (*after.shape, 2), np.float32)
            if kept is not None:
                return kept
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
    moved = np.empty((leads, *motion.shape[1:]), np.float32)
    for some, found in move(frame, np.isfinite(frame), motion, leads, np.nan, part):
        moved[some] = found
    return moved


def find_source(
    shape: tuple[int, ...], motion: NDArray[np.float32], leads: int, part: Part
) -> Part:
    """Rows and columns of a frame from which the rain of a part comes, and little more.

    Parameters
    ----------
    shape
        Rows and columns of the frame.
    motion, leads, part
        See `extrapolate`.
    """
    near = []
    for wanted, side, size in zip(part, motion[::-1], shape, strict=True):
        slowest, fastest, _, _ = opencv().minMaxLoc(side)
        # A pixel more on both sides, from which is interpolated.
        first = wanted.start - int(leads * max(fastest, 0)) - 2
        end = wanted.stop - int(leads * min(slowest, 0)) + 2
        near.append(slice(max(first, 0), min(end, size)))
    return near[0], near[1]


def move(
    frame: NDArray[Any],
    known: Bools,
    motion: NDArray[np.float32],
    leads: int,
    missing: float,
    part: Part | None = None,
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Move a frame on, a few lead times after the other: memory does not grow with their number.

    Parameters
    ----------
    frame, known
        The newest frame, and which of its pixels have a value, shape (y, x).
    motion, leads, part
        See `extrapolate`.
    missing
        What a moved pixel has where one of those that it comes from is missing or outside.

    Yields
    ------
    slice
        Some of the lead times.
    numpy.ndarray
        The frame moved on to them, shape (some, rows, columns).
    """
    part = part or whole(frame.shape)
    near = find_source(frame.shape, motion, leads, part)
    image = np.where(known[near], frame[near], np.float32(MISSING)).astype(np.float32, copy=False)
    rows, columns = (
        np.arange(wanted.start - first.start, wanted.stop - first.start)
        for wanted, first in zip(part, near, strict=True)
    )
    place = np.empty_like(motion)
    place[0], place[1] = columns, rows[:, None]
    for some in _pieces(leads, max(1, MOVED_PIXELS // motion[0].size)):
        places = np.empty((2, some.stop - some.start, *motion.shape[1:]), np.float32)
        for lead in range(places.shape[1]):
            place = np.subtract(place, motion, out=places[:, lead])
        found = _interpolated(image, places)
        found[found > LIMIT] = missing
        yield some, found


def _pieces(count: int, most: int) -> Iterator[slice]:
    return (slice(first, min(first + most, count)) for first in range(0, count, most))


def _interpolated(image: NDArray[np.float32], places: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image at columns and rows, shape (2, ...)."""
    cv2 = opencv()
    x, y = places.reshape(2, -1, places.shape[-1])
    # Of one layer: an image of two is interpolated at every 32nd part of a pixel only, and by
    # OpenCV 4 every image.
    outside = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": MISSING}
    found: NDArray[np.float32] = cv2.remap(image, x, y, cv2.INTER_LINEAR, **outside)
    return found.reshape(places.shape[1:])


def whole(shape: tuple[int, ...]) -> Part:
    """All rows and columns."""
    return slice(0, shape[0]), slice(0, shape[1])


def opencv() -> Any:
    """OpenCV, see `import_opencv`."""
    return import_opencv("the motion of rain needs OpenCV")
