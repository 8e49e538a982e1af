"""Shards to arrays: one open file at a time, declared sizes bounded before anything is allocated.

HDF5 is not safe to use from two threads, so a process has one `ReaderPool`, which reads for one
thread at a time: training reads ahead while a validation reads.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import netCDF4
import numpy as np

from hvd_nowcast.errors import ShardError
from hvd_nowcast.grid import Grid
from hvd_nowcast.shards.hdf5_lock import hdf5_lock
from hvd_nowcast.shards.schema import CODE_COUNTS, QUANTITIES, Codes, Packing, ShardHeader

LARGEST_FRAME_BYTES = 1 << 30
# Times and coordinates are read whole.
LARGEST_AXIS_BYTES = 1 << 26
# LZ4 shrinks a frame without rain by 250, zlib by 1,000, zstd by up to 44,000; more than this is
# a lie or an attack.
LARGEST_COMPRESSION = 50_000
REBUILD = "Build the shards again, or move it aside with: hvd-nowcast shards check --quarantine"


class ShardReader:
    """One open shard; use it as a context manager.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    ShardError
        When it is no shard, or declares more than it can hold.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._dataset = netCDF4.Dataset(path)
        except PermissionError as problem:
            raise ShardError(
                path, "no permission to read it", "Change its permissions"
            ) from problem
        except (OSError, RuntimeError) as problem:
            raise ShardError(path, f"cannot be opened as netCDF4 ({problem})", REBUILD) from problem
        try:
            self._dataset.set_auto_maskandscale(False)
            self._variable = self._find_variable()
            self._check_size()
            self._keep_one_frame()
            self.header = self._read_header()
        except ShardError:
            self.close()
            raise
        except (LookupError, AttributeError, RuntimeError, ValueError, TypeError) as problem:
            self.close()
            raise ShardError(path, f"its header is not a shard's ({problem})", REBUILD) from problem

    def read_codes(self, start: int, stop: int) -> Codes:
        """Stored codes of the frames ``[start, stop)``, shape ``(frames, y, x)``.

        Raises
        ------
        ShardError
            When the frames are not there or cannot be decompressed.
        """
        if not 0 <= start <= stop <= self._variable.shape[0]:
            held = self._variable.shape[0]
            raise ShardError(
                self._path, f"frames {start} to {stop} wanted, but it holds {held}", REBUILD
            )
        try:
            codes: Codes = self._variable[start:stop]
        except (RuntimeError, OSError) as problem:
            name = self._variable.name
            raise ShardError(
                self._path, f"{name}, frames {start} to {stop}: unreadable ({problem})", REBUILD
            ) from problem
        return codes

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._dataset.isopen():
            self._dataset.close()

    def __enter__(self) -> ShardReader:
        """Return the reader itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def _find_variable(self) -> netCDF4.Variable[Any]:
        found = [name for name in QUANTITIES if name in self._dataset.variables]
        if len(found) != 1:
            wanted = " or ".join(QUANTITIES)
            there = ", ".join(self._dataset.variables) or "none"
            raise ShardError(self._path, f"expected a variable {wanted}, found: {there}", REBUILD)
        variable = self._dataset[found[0]]
        if variable.dimensions != ("time", "y", "x") or str(variable.dtype) not in CODE_COUNTS:
            raise ShardError(
                self._path,
                f"{found[0]} should be uint8 or uint16 on (time, y, x), it is {variable.dtype} on "
                f"{variable.dimensions}",
                REBUILD,
            )
        return variable

    def _check_size(self) -> None:
        frames, rows, columns = self._variable.shape
        item = self._variable.dtype.itemsize
        frame_bytes = rows * columns * item
        chunks = self._variable.chunking()
        # The library makes room for a whole chunk, whatever part of it is wanted.
        chunk_bytes = 0 if chunks == "contiguous" else math.prod(chunks) * item
        held = self._path.stat().st_size
        if (
            max(frame_bytes, chunk_bytes) > LARGEST_FRAME_BYTES
            or frames * frame_bytes > held * LARGEST_COMPRESSION
            or 8 * max(frames, rows, columns) > LARGEST_AXIS_BYTES
        ):
            raise ShardError(
                self._path,
                f"declares {frames} frames of {rows} x {columns} in a file of {held} bytes",
                REBUILD,
            )

    def _keep_one_frame(self) -> None:
        # The library would cache megabytes per open file, and a frame is seldom read twice.
        if self._variable.chunking() != "contiguous":
            rows, columns = self._variable.shape[1:]
            size = rows * columns * self._variable.dtype.itemsize
            self._variable.set_var_chunk_cache(size=size, nelems=1, preemption=1.0)

    def _read_header(self) -> ShardHeader:
        dataset, variable = self._dataset, self._variable
        missing = {"scale_factor", "add_offset", "_FillValue"} - set(variable.ncattrs())
        if missing:
            raise ValueError(f"{variable.name} has no {', '.join(sorted(missing))}")
        packing = Packing(
            str(variable.dtype),
            float(variable.scale_factor),
            float(variable.add_offset),
            int(variable._FillValue),
        )
        for name, size in zip(("time", "y", "x"), variable.shape, strict=True):
            if dataset[name].shape != (size,) or not np.isfinite(dataset[name][:]).all():
                raise ValueError(f"{name} is not a full coordinate")
        if dataset["sequence"].shape != variable.shape[:1]:
            raise ValueError("sequence is not on time")
        seconds = np.asarray(dataset["time"][:], np.float64).round().astype(np.int64)
        return ShardHeader(
            self._path,
            variable.name,
            packing,
            Grid(np.asarray(dataset["x"][:]), np.asarray(dataset["y"][:]), self._projection()),
            seconds.astype("datetime64[s]"),
            np.asarray(dataset["sequence"][:], np.int32),
            {name: dataset.getncattr(name) for name in dataset.ncattrs()},
        )

    def _projection(self) -> dict[str, Any]:
        if "crs" not in self._dataset.variables:
            return {}
        crs = self._dataset["crs"]
        return {name: _plain(crs.getncattr(name)) for name in crs.ncattrs()}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


class CodeReader(Protocol):
    """What reads stored frames; `ReaderPool` is one."""

    def read_codes(self, file: str, start: int, stop: int) -> Codes:
        """Stored codes of some frames of one file, shape (frames, y, x)."""


class ReaderPool:
    """The shards of a folder that were used last, kept open.

    A pool that crossed a fork opens its files again: handles shared by two processes read wrong
    data.

    Parameters
    ----------
    folder
        Where the files lie.
    limit
        How many stay open.
    """

    def __init__(self, folder: Path, limit: int = 8) -> None:
        self._folder = folder
        self._limit = limit
        self._open: OrderedDict[str, ShardReader] = OrderedDict()
        self._process = os.getpid()

    def read_codes(self, file: str, start: int, stop: int) -> Codes:
        """Stored codes of some frames of one file, shape ``(frames, y, x)``."""
        self._leave_parent()
        with hdf5_lock():
            return self._reader(file).read_codes(start, stop)

    def close(self) -> None:
        """Close all files."""
        with hdf5_lock():
            while self._open:
                self._open.popitem()[1].close()

    def __del__(self) -> None:
        """Close the files of a pool that was left open, when no other thread reads."""
        if self._process == os.getpid():
            self.close()

    def _leave_parent(self) -> None:
        if self._process != os.getpid():
            # Not closed: that would flush and free what the parent process still uses.
            self._inherited, self._open = self._open, OrderedDict()
            self._process = os.getpid()

    def _reader(self, file: str) -> ShardReader:
        if file not in self._open:
            if len(self._open) >= self._limit:
                self._open.popitem(last=False)[1].close()
            self._open[file] = ShardReader(self._folder / file)
        self._open.move_to_end(file)
        return self._open[file]
