"""What the netCDF formats share: opening, sizes, times and axes of a file nobody vouches for."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import InputError
from hvd_nowcast.shards.schema import Times

LARGEST_FRAME_BYTES = 1 << 30
LARGEST_COMPRESSION = 20_000


def open_netcdf(path: Path) -> netCDF4.Dataset:
    """Open a file with automatic masking and scaling off.

    Raises
    ------
    InputError
        When it is missing, empty, not netCDF, or cut short.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise InputError(path, "the file is empty", "Copy or download it again")
        _refuse_cut_classic(path, size)
        dataset = netCDF4.Dataset(path)
    except OSError as problem:
        if isinstance(problem, PermissionError):
            raise InputError(
                path, "no permission to read it", "Change its permissions"
            ) from problem
        if isinstance(problem, FileNotFoundError):
            raise InputError(path, "there is no such file", "Check the path") from problem
        raise InputError(
            path,
            f"expected netCDF, but it cannot be opened ({problem})",
            "It is cut short, damaged or of another format: copy it again or give --format",
        ) from problem
    dataset.set_auto_maskandscale(False)
    return dataset


def bounded(path: Path, variable: netCDF4.Variable[Any]) -> None:
    """Refuse a variable that declares far more than its file can hold, before it is allocated.

    Raises
    ------
    InputError
        Naming the declared and the real size.
    """
    declared = int(np.prod(variable.shape, dtype=np.float64)) * variable.dtype.itemsize
    frame = declared // max(1, variable.shape[0])
    held = path.stat().st_size
    if frame > LARGEST_FRAME_BYTES or declared > held * LARGEST_COMPRESSION:
        raise InputError(
            path,
            f"{variable.name} declares {declared} bytes in a file of {held}",
            "The file is damaged: copy it again",
        )


def read_times(path: Path, variable: netCDF4.Variable[Any], round_to_seconds: int = 1) -> Times:
    """Times of a CF time variable as ``datetime64[s]``.

    Raises
    ------
    InputError
        When the units are not CF, or a time is missing.
    """
    values = np.asarray(variable[:], np.float64)
    units = getattr(variable, "units", None)
    if units is None or not np.isfinite(values).all():
        raise InputError(
            path, f"expected {variable.name} with CF units and no gaps", "Repair its attributes"
        )
    calendar = getattr(variable, "calendar", "standard")
    try:
        start, after = np.asarray(netCDF4.num2date(np.array([0, 1]), units, calendar))
        seconds_per_unit = (after - start).total_seconds()
    except (ValueError, TypeError) as problem:
        raise InputError(
            path, f"{variable.name} has the units {units!r}, not CF time units", "Repair them"
        ) from problem
    origin = np.datetime64(start.isoformat(), "s")
    seconds = np.round(values * seconds_per_unit / round_to_seconds) * round_to_seconds
    return origin + seconds.astype(np.int64).astype("timedelta64[s]")


def attributes_of(item: Any, names: Sequence[str]) -> dict[str, Any]:
    """Those of the named attributes that are there, as plain values."""
    there = {name: item.getncattr(name) for name in names if name in item.ncattrs()}
    return {
        k: v.tolist() if isinstance(v, np.ndarray | np.generic) else v for k, v in there.items()
    }


def decoded(variable: netCDF4.Variable[Any], codes: NDArray[Any]) -> NDArray[np.float32]:
    """Values of stored codes by the variable's own packing, NaN where missing."""
    missing = np.zeros(codes.shape, bool)
    for name in ("_FillValue", "missing_value"):
        if name in variable.ncattrs():
            missing |= np.isin(codes, variable.getncattr(name))
    if "valid_range" in variable.ncattrs():
        low, high = variable.getncattr("valid_range")
        missing |= (codes < low) | (codes > high)
    scale = float(getattr(variable, "scale_factor", 1.0))
    offset = float(getattr(variable, "add_offset", 0.0))
    values = codes.astype(np.float64) * scale + offset
    return np.where(missing, np.nan, values).astype(np.float32)


def _refuse_cut_classic(path: Path, size: int) -> None:
    """A classic netCDF file reads without an error when its end is missing: compare the sizes."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:3] != b"CDF" or magic[3:] not in (b"\x01", b"\x02"):
        return
    try:
        wanted = classic_size(path.read_bytes()[: 1 << 20])
    except (struct.error, IndexError, ValueError):
        raise InputError(path, "its netCDF header is damaged", "Copy it again") from None
    if size < wanted:
        raise InputError(
            path, f"its header announces {wanted} bytes, the file has {size}", "Copy it again"
        )


class _ClassicHeader:
    """Reads the big-endian header of a classic netCDF file (CDF-1 and CDF-2)."""

    _TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8}

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 4
        self._offset_format = ">q" if content[3] == 2 else ">i"

    def number(self, form: str = ">i") -> int:
        value: int = struct.unpack_from(form, self._content, self._place)[0]
        self._place += struct.calcsize(form)
        return value

    def offset(self) -> int:
        return self.number(self._offset_format)

    def skip_name(self) -> None:
        self._skip(self.number())

    def skip_attributes(self) -> None:
        self.number()
        for _ in range(self.number()):
            self.skip_name()
            kind = self.number()
            self._skip(self.number() * self._TYPE_BYTES[kind])

    def type_bytes(self) -> int:
        return self._TYPE_BYTES[self.number()]

    def _skip(self, count: int) -> None:
        self._place += -(-count // 4) * 4


def classic_size(content: bytes) -> int:
    """Bytes that the header of a classic netCDF file announces (NetCDF classic format spec).

    Parameters
    ----------
    content
        Beginning of the file, with the whole header.
    """
    header = _ClassicHeader(content)
    records = max(0, header.number())
    header.number()
    lengths = []
    for _ in range(header.number()):
        header.skip_name()
        lengths.append(header.number())
    header.skip_attributes()
    header.number()
    ends, record_parts = [header_end := 0], []
    for _ in range(header.number()):
        header.skip_name()
        shape = [lengths[header.number()] for _ in range(header.number())]
        header.skip_attributes()
        item = header.type_bytes()
        header.number()
        begin = header.offset()
        if shape and shape[0] == 0:
            record_parts.append((begin, item * int(np.prod(shape[1:], dtype=np.int64))))
        else:
            ends.append(begin + item * int(np.prod(shape, dtype=np.int64)))
    if record_parts and records:
        # One record variable is stored without padding between records.
        pad = 1 if len(record_parts) == 1 else 4
        record = sum(-(-part // pad) * pad for _, part in record_parts)
        last_begin, last_part = max(record_parts)
        ends.append(last_begin + (records - 1) * record + last_part)
    return max(header_end, *ends)
