"""What the netCDF formats share: opening, sizes, times and values of a file nobody vouches for."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import InputError
from hvd_nowcast.shards.convert.classic import refuse_cut_classic
from hvd_nowcast.shards.reader import (
    LARGEST_AXIS_BYTES,
    LARGEST_COMPRESSION,
    LARGEST_FRAME_BYTES,
)
from hvd_nowcast.shards.schema import Times

# Others count days that do not exist, or leave out some that do.
REAL_CALENDARS = ("standard", "gregorian", "proleptic_gregorian", "julian")
# A time further away than this is a missing value read as a number.
FARTHEST_SECONDS = 1e11


def open_netcdf(path: Path) -> netCDF4.Dataset:
    """Open a file with automatic masking and scaling off.

    Raises
    ------
    InputError
        When it is missing, empty, not netCDF, or cut short.
    """
    try:
        if path.stat().st_size == 0:
            raise InputError(path, "the file is empty", "Copy or download it again")
        refuse_cut_classic(path)
        dataset = netCDF4.Dataset(path)
    except PermissionError as problem:
        raise InputError(path, "no permission to read it", "Change its permissions") from problem
    except FileNotFoundError as problem:
        raise InputError(path, "there is no such file", "Check the path") from problem
    except (OSError, RuntimeError) as problem:
        raise InputError(
            path,
            f"expected netCDF, but it cannot be opened ({problem})",
            "It is cut short, damaged or of another format: copy it again or give --format",
        ) from problem
    dataset.set_auto_maskandscale(False)
    return dataset


class OpenFiles:
    """The files that were used last, kept open; a long archive has more than a process may hold.

    Parameters
    ----------
    limit
        How many stay open.
    """

    def __init__(self, limit: int = 32) -> None:
        self._limit = limit
        self._open: OrderedDict[Path, netCDF4.Dataset] = OrderedDict()

    def variable(self, path: Path, name: str) -> netCDF4.Variable[Any]:
        """A variable of a file, to be used before the next call."""
        if path not in self._open:
            if len(self._open) >= self._limit:
                self._open.popitem(last=False)[1].close()
            self._open[path] = open_netcdf(path)
        self._open.move_to_end(path)
        return self._open[path][name]


def require_field(path: Path, variable: netCDF4.Variable[Any]) -> None:
    """Refuse a variable that is not numbers on (time, y, x), or too large to be true.

    Raises
    ------
    InputError
        Before anything is allocated.
    """
    if len(variable.dimensions) != 3 or not np.issubdtype(variable.dtype, np.number):
        raise InputError(
            path,
            f"expected {variable.name} as numbers on (time, y, x), it is {variable.dtype} on "
            f"{variable.dimensions}",
            "Choose another with --variable",
        )
    if not min(variable.shape):
        raise InputError(path, f"{variable.name} has no frame", "Give a file with frames")
    declared = math.prod(variable.shape) * variable.dtype.itemsize
    chunks = variable.chunking()
    chunk = 0 if chunks in (None, "contiguous") else math.prod(chunks) * variable.dtype.itemsize
    frame = max(chunk, declared // variable.shape[0])
    held = path.stat().st_size
    if (
        frame > LARGEST_FRAME_BYTES
        or declared > held * LARGEST_COMPRESSION
        or 8 * max(variable.shape) > LARGEST_AXIS_BYTES
    ):
        raise InputError(
            path,
            f"{variable.name} declares {declared} bytes, {frame} in one piece, in a file of {held}",
            "The file is damaged: copy it again",
        )


def read_axis(path: Path, variable: netCDF4.Variable[Any], length: int) -> NDArray[np.float64]:
    """Values of a coordinate, shape ``(length,)``.

    Raises
    ------
    InputError
        When it has another shape, or a value is missing.
    """
    if variable.shape != (length,) or not np.issubdtype(variable.dtype, np.number):
        raise InputError(
            path,
            f"expected {variable.name} as {length} numbers, it is {variable.dtype} of shape "
            f"{variable.shape}",
            "Repair its coordinates",
        )
    try:
        values = decoded(variable, variable[:], np.float64)
    except (RuntimeError, OSError) as problem:
        raise InputError(
            path, f"{variable.name} cannot be read ({problem})", "Copy it again"
        ) from problem
    if not np.isfinite(values).all():
        raise InputError(
            path, f"{variable.name} has missing values", "Repair its coordinates, or copy it again"
        )
    return values


def read_times(
    path: Path, variable: netCDF4.Variable[Any], frames: int, round_to_seconds: int = 1
) -> Times:
    """Times of a CF time variable as ``datetime64[s]``, shape ``(frames,)``.

    Raises
    ------
    InputError
        When the units are not CF, the calendar is not real, or a time is missing.
    """
    values = read_axis(path, variable, frames)
    units = str(getattr(variable, "units", ""))
    calendar = str(getattr(variable, "calendar", "standard")).lower()
    if calendar not in REAL_CALENDARS:
        raise InputError(
            path,
            f"{variable.name} has the calendar {calendar!r}, expected one of "
            f"{', '.join(REAL_CALENDARS)}",
            "Convert its times",
        )
    try:
        start, after = np.asarray(netCDF4.num2date(np.array([0, 1]), units, calendar))
    except (ValueError, TypeError, OverflowError) as problem:
        raise InputError(
            path,
            f"{variable.name} has the units {units!r}, not CF time units",
            "Repair its units attribute: CF units are like minutes since 2000-01-01 00:00",
        ) from problem
    seconds = values * (after - start).total_seconds()
    if np.abs(seconds).max() > FARTHEST_SECONDS:
        raise InputError(path, f"{variable.name} has missing values", "Repair its times")
    rounded = np.round(seconds / round_to_seconds) * round_to_seconds
    origin = np.datetime64(start.isoformat(), "s")
    return origin + rounded.astype(np.int64).astype("timedelta64[s]")


def read_frame(
    path: Path,
    variable: netCDF4.Variable[Any],
    number: int,
    dtype: type[np.floating[Any]] = np.float32,
) -> NDArray[Any]:
    """One decoded frame, NaN where missing, shape ``(y, x)``.

    Raises
    ------
    InputError
        When it cannot be decompressed.
    """
    try:
        return decoded(variable, variable[number], dtype)
    except (RuntimeError, OSError, IndexError) as problem:
        raise InputError(
            path,
            f"{variable.name}, frame {number}: cannot be read ({problem})",
            "The file is damaged: copy it again",
        ) from problem


def attributes_of(item: Any, names: Sequence[str]) -> dict[str, Any]:
    """Those of the named attributes that are there, as plain values."""
    there = {name: item.getncattr(name) for name in names if name in item.ncattrs()}
    return {
        k: v.tolist() if isinstance(v, np.ndarray | np.generic) else v for k, v in there.items()
    }


def decoded(
    variable: netCDF4.Variable[Any], codes: NDArray[Any], dtype: type[np.floating[Any]] = np.float32
) -> NDArray[Any]:
    """Values of stored codes by the variable's own packing, NaN where missing.

    Missing is what ``_FillValue``, ``missing_value``, ``valid_range``, ``valid_min`` or
    ``valid_max`` says; without a ``_FillValue``, also what the library fills unwritten places with.
    """
    there = set(variable.ncattrs())
    unsigned = "_Unsigned" in there and str(variable.getncattr("_Unsigned")).lower() == "true"
    stored = codes.dtype.str.replace("i", "u") if unsigned else codes.dtype
    codes = codes.view(stored)

    def as_stored(name: str) -> NDArray[Any]:
        values = np.atleast_1d(variable.getncattr(name))
        return values.astype(codes.dtype) if unsigned else values

    missing = np.isin(codes, _default_fill(variable, there))
    for name in ("_FillValue", "missing_value"):
        if name in there:
            missing |= np.isin(codes, as_stored(name))
    if "valid_range" in there:
        missing |= (codes < as_stored("valid_range")[0]) | (codes > as_stored("valid_range")[1])
    if "valid_min" in there:
        missing |= codes < as_stored("valid_min")[0]
    if "valid_max" in there:
        missing |= codes > as_stored("valid_max")[0]
    scale = float(getattr(variable, "scale_factor", 1.0))
    offset = float(getattr(variable, "add_offset", 0.0))
    values = codes.astype(np.float64) * scale + offset
    return np.where(missing, np.nan, values).astype(dtype)


def _default_fill(variable: netCDF4.Variable[Any], there: set[str]) -> list[Any]:
    # One-byte variables have no default: all their codes may be data.
    if "_FillValue" in there or variable.dtype.itemsize == 1:
        return []
    return [np.array(netCDF4.default_fillvals[variable.dtype.str[1:]]).astype(variable.dtype)]
