"""MRMS precipitation rate: one GRIB2 file per frame, plain or gzipped.

Rates are multiples of 0.1 mm h-1; -3 stands for no coverage and -1 for missing. The grid of
latitudes and longitudes becomes an equirectangular one in metres. GRIB2 needs ``eccodes``, in the
optional extra ``grib``.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import equirectangular_grid
from hvd_nowcast.optional import import_optional
from hvd_nowcast.shards.convert.single_frames import FrameHeader, source_of_files
from hvd_nowcast.shards.convert.source import Field, FrameSource, Options
from hvd_nowcast.shards.schema import Packing

Result = TypeVar("Result")

PACKING = Packing("uint16", 0.1, 0.0, 65535)
# Discipline, category and number of MRMS' own PrecipRate, which no public table names.
PRECIP_RATE = (209, 6, 1)
LARGEST_BYTES = 1 << 28
LARGEST_PIXELS = 1 << 27


def open_mrms(paths: Sequence[Path], options: Options) -> FrameSource:
    """Open files of one frame each.

    Raises
    ------
    MissingDependencyError
        When the GRIB library is not installed.
    InputError
        When a file is not of this kind.
    """
    attributes = {
        "title": "MRMS precipitation rate",
        "institution": "NOAA National Severe Storms Laboratory",
    }
    headers = [_decoded(path, _header) for path in paths]
    return source_of_files(headers, lambda path: _decoded(path, _field), PACKING, attributes)


def recognise_mrms(path: Path) -> bool:
    """Whether a file is of this kind, by its name or its beginning."""
    with path.open("rb") as file:
        is_grib = file.read(4) == b"GRIB"
    return is_grib or path.name.endswith((".grib2", ".grib2.gz", ".grb2"))


def _decoded(path: Path, work: Callable[[Path, ModuleType, Any], Result]) -> Result:
    """Do some work on the one message of a file."""
    eccodes = import_optional("eccodes", "MRMS files need a GRIB2 reader", "'hvd_nowcast[grib]'")
    try:
        message = eccodes.codes_new_from_message(_content(path))
        try:
            return work(path, eccodes, message)
        finally:
            eccodes.codes_release(message)
    except (eccodes.CodesInternalError, ValueError) as problem:
        if isinstance(problem, InputError):
            raise
        raise InputError(
            path, f"expected GRIB2, but it cannot be decoded ({problem})", "Copy it again"
        ) from problem


def _content(path: Path) -> bytes:
    """The bytes of a file's message, which must be there from beginning to end."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                # A gzip bomb must not fill the memory.
                content = file.read(LARGEST_BYTES)
    except PermissionError as problem:
        raise InputError(path, "no permission to read it", "Change its permissions") from problem
    except (OSError, EOFError, zlib.error) as problem:
        raise InputError(path, f"cannot be unpacked ({problem})", "Copy it again") from problem
    if content[:4] != b"GRIB" or content[-4:] != b"7777":
        raise InputError(
            path,
            f"expected one whole GRIB message, got {len(content)} bytes of something else",
            "It is cut short or of another kind: copy it again, or give --format",
        )
    return content


def _header(path: Path, eccodes: ModuleType, message: Any) -> FrameHeader:
    def number(key: str) -> int:
        return int(eccodes.codes_get_long(message, key))

    kind = tuple(number(f"parameter{part}") for part in ("Category", "Number"))
    if (number("discipline"), *kind) != PRECIP_RATE:
        raise InputError(
            path,
            f"expected PrecipRate, GRIB parameter {PRECIP_RATE}, got "
            f"{(number('discipline'), *kind)}",
            "Give PrecipRate files, or convert it to CF netCDF and use --format cf",
        )
    rows, columns = number("Nj"), number("Ni")
    if eccodes.codes_get(message, "gridType") != "regular_ll" or rows * columns > LARGEST_PIXELS:
        raise InputError(
            path, f"expected a latitude-longitude grid, got {rows} x {columns}", "Give MRMS files"
        )
    latitude = _axis(eccodes, message, "latitude", rows, bool(number("jScansPositively")))
    longitude = _axis(eccodes, message, "longitude", columns, bool(number("iScansNegatively")))
    date, time = f"{number('validityDate'):08d}", f"{number('validityTime'):04d}"
    stamp = f"{date[:4]}-{date[4:6]}-{date[6:]}T{time[:2]}:{time[2:]}"
    return FrameHeader(path, np.datetime64(stamp, "s"), equirectangular_grid(latitude, longitude))


def _axis(
    eccodes: ModuleType, message: Any, name: str, size: int, turned: bool
) -> NDArray[np.float64]:
    """Degrees of the rows from the north, or of the columns from the west."""
    first, last = (
        float(eccodes.codes_get_double(message, f"{name}Of{end}GridPointInDegrees"))
        for end in ("First", "Last")
    )
    return np.linspace(last, first, size) if turned else np.linspace(first, last, size)


def _field(path: Path, eccodes: ModuleType, message: Any) -> Field:
    shape = eccodes.codes_get_long(message, "Nj"), eccodes.codes_get_long(message, "Ni")
    values = eccodes.codes_get_values(message).reshape(shape)
    if eccodes.codes_get_long(message, "jScansPositively"):
        values = values[::-1]
    if eccodes.codes_get_long(message, "iScansNegatively"):
        values = values[:, ::-1]
    missing = (values < 0) | (values == eccodes.codes_get_double(message, "missingValue"))
    return np.where(missing, np.nan, values).astype(np.float32)
