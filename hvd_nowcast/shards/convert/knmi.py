"""KNMI 5-minute radar rainfall: HDF5, 0.01 mm in 5 minutes per count, 65535 outside the radars.

The time is the end of the five minutes. Counts become rain rates of 0.12 mm h-1, without loss.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import Grid
from hvd_nowcast.shards.convert.hdf5 import (
    is_hdf5_with,
    open_hdf5,
    read_part,
    require,
    require_bounded,
)
from hvd_nowcast.shards.convert.single_frames import FrameHeader, source_of_files
from hvd_nowcast.shards.convert.source import Field, FrameSource, Options
from hvd_nowcast.shards.schema import Packing

IMAGE = "image1/image_data"
MISSING = 65535
STEP_SECONDS = 300
# 0.01 mm in 5 minutes, twelve times an hour.
RATE_PER_COUNT = 0.12
FORMULA = "GEO=0.01*PV+0.0"
MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
PROJECTION = {
    "grid_mapping_name": "polar_stereographic",
    "straight_vertical_longitude_from_pole": 0.0,
    "latitude_of_projection_origin": 90.0,
    "standard_parallel": 60.0,
    "false_easting": 0.0,
    "false_northing": 0.0,
    "semi_major_axis": 6378137.0,
    "semi_minor_axis": 6356752.0,
    "proj4": "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752 +x_0=0 +y_0=0",
}


def open_knmi(paths: Sequence[Path], options: Options) -> FrameSource:
    """Open files of one frame each.

    Raises
    ------
    InputError
        When a file is not of this kind.
    """
    attributes = {
        "title": "KNMI 5-minute radar rain rate",
        "institution": "Royal Netherlands Meteorological Institute (KNMI)",
        "license": "CC BY 4.0",
    }
    headers = [_header(path) for path in paths]
    packing = Packing("uint16", RATE_PER_COUNT, 0.0, MISSING)
    return source_of_files(headers, _read, packing, attributes)


def recognise_knmi(path: Path) -> bool:
    """Whether a file is of this kind."""
    return path.suffix in (".h5", ".hdf5", ".hdf") and is_hdf5_with(path, IMAGE)


def _header(path: Path) -> FrameHeader:
    with open_hdf5(path) as content:
        require(content, path, IMAGE, "image1/calibration", "overview", "geographic")
        image = content[IMAGE]
        if image.ndim != 2 or image.dtype != np.uint16:
            raise InputError(
                path,
                f"expected {IMAGE} as uint16 (y, x), got {image.dtype} {image.shape}",
                "Give 5-minute rainfall files",
            )
        require_bounded(path, image)
        formula = _text(content["image1/calibration"].attrs.get("calibration_formulas", b""))
        if formula != FORMULA:
            raise InputError(
                path,
                f"expected the calibration {FORMULA}, got {formula!r}",
                "Give 5-minute rainfall files",
            )
        start, end = (
            _time(path, content["overview"].attrs.get(f"product_datetime_{name}", b""))
            for name in ("start", "end")
        )
        grid = _grid(path, image.shape, content["geographic"].attrs)
    if (end - start).astype(int) != STEP_SECONDS:
        raise InputError(
            path,
            f"expected rainfall of {STEP_SECONDS} s, it is from {start} to {end}",
            "Give 5-minute rainfall files",
        )
    return FrameHeader(path, end, grid)


def _grid(path: Path, shape: tuple[int, int], attributes: Any) -> Grid:
    """Pixel centres in metres; the file counts kilometres from the pole, rows to the south."""
    names = ("geo_row_offset", "geo_pixel_size_y", "geo_column_offset", "geo_pixel_size_x")
    numbers = [np.ravel(attributes.get(name, np.nan))[:1].astype(np.float64) for name in names]
    if not all(number.size and np.isfinite(number[0]) for number in numbers):
        raise InputError(path, f"expected {', '.join(names)}", "Copy or download it again")
    (row, down, column, across) = (float(number[0]) for number in numbers)
    y = (np.arange(shape[0]) + 0.5 + row) * down * 1000.0
    x = (np.arange(shape[1]) + 0.5 + column) * across * 1000.0
    return Grid(x, y, dict(PROJECTION))


def _read(path: Path) -> Field:
    with open_hdf5(path) as content:
        counts = read_part(path, content[IMAGE], ...)
    return np.where(counts == MISSING, np.nan, counts * RATE_PER_COUNT).astype(np.float32)


def _time(path: Path, value: Any) -> np.datetime64:
    """Time of ``26-AUG-2010;00:05:00.000``; month names are English whatever the locale."""
    text = _text(value)
    match = re.match(r"(\d\d)-([A-Z]{3})-(\d{4});(\d\d:\d\d:\d\d)", text)
    if match is None or match[2] not in MONTHS:
        raise InputError(
            path, f"expected a time like 26-AUG-2010;00:05:00, got {text!r}", "Copy it again"
        )
    month = MONTHS.index(match[2]) + 1
    try:
        return np.datetime64(f"{match[3]}-{month:02d}-{match[1]}T{match[4]}", "s")
    except ValueError as problem:
        raise InputError(path, f"{text!r} is no time ({problem})", "Copy it again") from problem


def _text(value: Any) -> str:
    item = value[0] if isinstance(value, np.ndarray) else value
    return item.decode() if isinstance(item, bytes) else str(item)
