"""FMI radar composites: 8-bit PGM, plain or gzipped, with what they mean in header comments.

dBZ = 0.5 v - 32, and 255 is no data. The projection is written out in the comments only in part,
so the rest is that of the SUOMI1 composite.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import RELATIONS, Grid
from hvd_nowcast.shards.convert.reflectivity import (
    attributes_for,
    rain_from_reflectivity,
    relation_named,
)
from hvd_nowcast.shards.convert.single_frames import FrameHeader, source_of_files
from hvd_nowcast.shards.convert.source import Field, FrameSource, Options
from hvd_nowcast.shards.schema import RAIN_PACKING

MISSING = 255
LARGEST_BYTES = 1 << 28
PROJECTION = {
    "grid_mapping_name": "polar_stereographic",
    "straight_vertical_longitude_from_pole": 25.0,
    "latitude_of_projection_origin": 90.0,
    "standard_parallel": 60.0,
    "false_easting": 380886.310,
    "false_northing": 3395677.920,
    "semi_major_axis": 6371288.0,
    "semi_minor_axis": 6371288.0,
    "proj4": "+proj=stere +lon_0=25 +lat_0=90 +lat_ts=60 +a=6371288 +b=6371288 "
    "+x_0=380886.310 +y_0=3395677.920",
}


def open_fmi_pgm(paths: Sequence[Path], options: Options) -> FrameSource:
    """Open files of one frame each.

    Raises
    ------
    InputError
        When a file is not of this kind.
    """
    relation = relation_named(options.relation) if options.relation else RELATIONS["fmi"]
    convert = rain_from_reflectivity(relation)
    attributes = {
        "title": "FMI radar composite",
        "institution": "Finnish Meteorological Institute",
        "license": "CC BY 4.0",
        **attributes_for(relation),
    }

    def read(path: Path) -> Field:
        codes, _ = read_pgm(path)
        dbz = np.where(codes == MISSING, np.nan, 0.5 * codes - 32.0).astype(np.float32)
        return convert(dbz)

    return source_of_files([_header(path) for path in paths], read, RAIN_PACKING, attributes)


def recognise_fmi_pgm(path: Path) -> bool:
    """Whether a file is of this kind, by its name or its beginning."""
    with path.open("rb") as file:
        return file.read(3) == b"P5\n" or path.name.endswith((".pgm", ".pgm.gz"))


def read_pgm(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Read a binary 8-bit PGM image.

    Returns
    -------
    codes, comments
        Image of shape ``(y, x)``, and the header's comment lines.

    Raises
    ------
    InputError
        When it is not such an image, or cut short.
    """
    content = _bytes(path)
    place, words, comments = 0, list[bytes](), list[str]()
    while len(words) < 4:
        end = content.find(b"\n", place)
        if end < 0:
            raise InputError(path, "expected a PGM image, its header has no end", "Copy it again")
        line, place = content[place:end], end + 1
        if line.startswith(b"#"):
            comments.append(line[1:].strip().decode("latin-1"))
        else:
            words += line.split()
    magic, *numbers = words[:4]
    if magic != b"P5" or not all(number.isdigit() for number in numbers) or int(numbers[2]) > 255:
        raise InputError(path, "expected an 8-bit binary PGM (P5)", "Give --format for its kind")
    columns, rows = int(numbers[0]), int(numbers[1])
    if not 0 < rows * columns <= len(content) - place:
        raise InputError(
            path,
            f"announces {rows} x {columns} pixels but holds {len(content) - place}",
            "It is cut short or damaged: copy it again",
        )
    codes = np.frombuffer(content, np.uint8, rows * columns, place).reshape(rows, columns)
    return codes, "\n".join(comments)


def _bytes(path: Path) -> bytes:
    try:
        if path.suffix != ".gz":
            return path.read_bytes()
        with gzip.open(path) as file:
            # A gzip bomb must not fill the memory.
            return file.read(LARGEST_BYTES)
    except (OSError, EOFError, zlib.error) as problem:
        raise InputError(path, f"cannot be read ({problem})", "Copy it again") from problem


def _header(path: Path) -> FrameHeader:
    codes, comments = read_pgm(path)
    found = {
        name: re.search(rf"{name} (\S+)", comments)
        for name in ("obstime", "metersperpixel_x", "metersperpixel_y")
    }
    missing = [name for name, match in found.items() if match is None]
    if missing:
        raise InputError(
            path, f"its header has no {', '.join(missing)}", "Is it an FMI radar composite?"
        )
    stamp, across, down = (match[1] for match in found.values() if match is not None)
    try:
        time = datetime.strptime(stamp[:12], "%Y%m%d%H%M")
        sides = float(across), float(down)
        if not (np.isfinite(sides).all() and min(sides) > 0):
            raise ValueError(f"pixels of {sides} metres")
    except ValueError as problem:
        raise InputError(path, f"its header is damaged ({problem})", "Copy it again") from problem
    rows, columns = codes.shape
    x = (np.arange(columns) + 0.5) * sides[0]
    y = (rows - np.arange(rows) - 0.5) * sides[1]
    return FrameHeader(path, np.datetime64(time, "s"), Grid(x, y, dict(PROJECTION)))
