"""KNMI 5-minute radar rainfall: HDF5, 0.01 mm in 5 minutes per count, 65535 outside the radars.

The time is the end of the five minutes. Counts become rain rates of 0.12 mm h-1, without loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import Grid
from hvd_nowcast.shards.convert.hdf5 import is_hdf5_with, open_hdf5, require
from hvd_nowcast.shards.convert.single_frames import FrameHeader, source_of_files
from hvd_nowcast.shards.convert.source import Field, FrameSource, Options
from hvd_nowcast.shards.schema import Packing

IMAGE = "image1/image_data"
MISSING = 65535
# 0.01 mm in 5 minutes, twelve times an hour.
RATE_PER_COUNT = 0.12
FORMULA = "GEO=0.01*PV+0.0"
# The composite's upper edge lies this far south of the pole on its projection plane.
TOP_METRES = -3_650_000.0
PIXEL_METRES = 1000.0
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
        require(content, path, IMAGE, "image1/calibration", "overview")
        formula = _text(content["image1/calibration"].attrs.get("calibration_formulas", b""))
        if formula != FORMULA:
            raise InputError(
                path, f"expected the calibration {FORMULA}, got {formula!r}", "Not rainfall?"
            )
        stamp = _text(content["overview"].attrs["product_datetime_end"])
        rows, columns = content[IMAGE].shape
    x = (np.arange(columns) + 0.5) * PIXEL_METRES
    y = TOP_METRES - (np.arange(rows) + 0.5) * PIXEL_METRES
    # Month names are English in the files, whatever the locale.
    time = datetime.strptime(stamp[:20], "%d-%b-%Y;%H:%M:%S")
    return FrameHeader(path, np.datetime64(time, "s"), Grid(x, y, dict(PROJECTION)))


def _read(path: Path) -> Field:
    with open_hdf5(path) as content:
        counts = content[IMAGE][...]
    return np.where(counts == MISSING, np.nan, counts * RATE_PER_COUNT).astype(np.float32)


def _text(value: Any) -> str:
    item = value[0] if isinstance(value, np.ndarray) else value
    return item.decode() if isinstance(item, bytes) else str(item)
