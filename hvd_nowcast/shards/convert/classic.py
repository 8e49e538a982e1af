"""How long a classic netCDF file should be: one that is cut short reads without any error.

The header is that of "The NetCDF Classic Format Specification" (Unidata), in its three versions:
classic, 64-bit offset and 64-bit data.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import NamedTuple

from hvd_nowcast.errors import InputError

_HEADER_BYTES = 1 << 24
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}


def refuse_cut_classic(path: Path) -> None:
    """Refuse a classic netCDF file that is shorter than its header announces.

    Raises
    ------
    InputError
        Naming both sizes.
    """
    with path.open("rb") as file:
        content = file.read(_HEADER_BYTES)
    if content[:3] != b"CDF" or content[3:4] not in (b"\x01", b"\x02", b"\x05"):
        return
    try:
        wanted = classic_size(content)
    except (struct.error, LookupError, ValueError):
        raise InputError(path, "its netCDF header is damaged", "Copy it again") from None
    held = path.stat().st_size
    if held < wanted:
        raise InputError(
            path, f"its header announces {wanted} bytes, the file has {held}", "Copy it again"
        )


class _Variable(NamedTuple):
    """Place and size of a variable; that of one record for a record variable."""

    begin: int
    size: int
    is_record: bool


class _Header:
    """Reads the big-endian numbers of a header one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 4
        version = content[3]
        self._count_format = ">q" if version == 5 else ">i"
        self._offset_format = ">i" if version == 1 else ">q"

    def tag(self) -> int:
        return self._number(">i")

    def count(self) -> int:
        return self._number(self._count_format)

    def offset(self) -> int:
        return self._number(self._offset_format)

    def skip_name(self) -> None:
        self._skip(self.count())

    def skip_attributes(self) -> None:
        self.tag()
        for _ in range(self.count()):
            self.skip_name()
            item = _TYPE_BYTES[self.tag()]
            self._skip(self.count() * item)

    def variable(self, lengths: list[int]) -> _Variable:
        self.skip_name()
        shape = [lengths[self.count()] for _ in range(self.count())]
        self.skip_attributes()
        item = _TYPE_BYTES[self.tag()]
        self.count()
        # The length of the unlimited dimension, always the first one, is written as zero.
        is_record = bool(shape) and shape[0] == 0
        return _Variable(self.offset(), item * math.prod(shape[is_record:]), is_record)

    def _number(self, form: str) -> int:
        value: int = struct.unpack_from(form, self._content, self._place)[0]
        self._place += struct.calcsize(form)
        return value

    def _skip(self, size: int) -> None:
        if size < 0:
            raise ValueError("a negative size")
        self._place += -(-size // 4) * 4


def classic_size(content: bytes) -> int:
    """Bytes that the header of a classic netCDF file announces.

    Parameters
    ----------
    content
        Beginning of the file, with the whole header.

    Raises
    ------
    struct.error, LookupError, ValueError
        When it is not such a header.
    """
    header = _Header(content)
    # -1 stands for a file that was being streamed: nothing is known of its records.
    records = max(0, header.count())
    header.tag()
    lengths = []
    for _ in range(header.count()):
        header.skip_name()
        lengths.append(header.count())
    header.skip_attributes()
    header.tag()
    variables = [header.variable(lengths) for _ in range(header.count())]
    ends = [variable.begin + variable.size for variable in variables if not variable.is_record]
    parts = [variable for variable in variables if variable.is_record]
    if parts and records:
        # A lone record variable is stored without padding between its records.
        pad = 1 if len(parts) == 1 else 4
        record = sum(-(-part.size // pad) * pad for part in parts)
        last = max(parts)
        ends.append(last.begin + (records - 1) * record + last.size)
    return max([0, *ends])
