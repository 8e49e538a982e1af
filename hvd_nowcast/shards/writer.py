"""Arrays to CF netCDF4, written aside and renamed, so that a final name is always a whole file."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from hvd_nowcast.errors import OutputError
from hvd_nowcast.grid import Grid
from hvd_nowcast.shards.schema import QUANTITIES, Codes, ShardHeader, Times

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder",
    errno.EACCES: "choose a folder you may write to",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.ENOENT: "the folder does not exist: make it first",
}

PLAIN: dict[str, Any] = {"compression": "zlib", "complevel": 1, "shuffle": True}
# Read three times as fast as zstd and twelve times as fast as zlib, and as small.
FAST: dict[str, Any] = {"compression": "blosc_lz4hc", "complevel": 5, "blosc_shuffle": 1}
# Smaller frames seldom shrink.
LEAST_FAST_PIXELS = 4096


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it on success, remove it on an error.

    Raises
    ------
    OutputError
        When anything inside fails to write; an older file of that name stays whole.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as problem:
        raise output_error(path, problem) from problem
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        _make_durable(aside)
        aside.replace(path)
        _make_durable(path.parent)
    except OSError as problem:
        raise output_error(path, problem) from problem
    finally:
        aside.unlink(missing_ok=True)


def output_error(path: Path, problem: OSError) -> OutputError:
    """One message for a failed write, with what to do about it."""
    if isinstance(problem, OutputError):
        return problem
    remedy = _REMEDIES.get(problem.errno or 0, "check the disk and the permissions of the folder")
    return OutputError(f"{path}: cannot be written ({problem.strerror or problem}); {remedy}")


def _make_durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if path.is_file():
        path.chmod(0o644)


def write_grid(dataset: netCDF4.Dataset, grid: Grid, mapping_name: str = "crs") -> None:
    """Add dimensions and variables ``y``, ``x`` and, when it is known, the projection.

    Parameters
    ----------
    dataset
        Open for writing.
    grid
        Where the pixels lie.
    mapping_name
        Name of the variable that holds the projection.
    """
    for name, values in (("y", grid.y), ("x", grid.x)):
        dataset.createDimension(name, len(values))
        variable = dataset.createVariable(name, "f8", (name,))
        variable.setncatts(
            {
                "standard_name": f"projection_{name}_coordinate",
                "long_name": f"{name} distance on the projection plane",
                "units": "m",
                "axis": name.upper(),
            }
        )
        variable[:] = values
    if grid.projection:
        dataset.createVariable(mapping_name, "i4").setncatts(grid.projection)


def write_times(dataset: netCDF4.Dataset, times: Times) -> None:
    """Add the dimension and variable ``time``, in seconds as a double (CF 1.8 has no int64)."""
    dataset.createDimension("time", len(times))
    variable = dataset.createVariable("time", "f8", ("time",))
    variable.setncatts(
        {
            "standard_name": "time",
            "units": "seconds since 1970-01-01 00:00:00",
            "calendar": "standard",
            "axis": "T",
        }
    )
    variable[:] = times.astype("datetime64[s]").astype(np.int64).astype(np.float64)


def write_shard(header: ShardHeader, frames: Iterable[Codes]) -> None:
    """Write one shard at ``header.path``.

    Parameters
    ----------
    header
        Everything but the frames.
    frames
        As many stored frames as ``header.times``, each of shape ``(y, x)``; begun again where a
        form of compression cannot hold them.

    Raises
    ------
    OutputError
        When the file cannot be written; nothing is left under its name.
    """
    rows, columns = header.grid.shape
    if rows * columns < LEAST_FAST_PIXELS or not netCDF4.__has_blosc_support__:
        _write_shard(header, frames, PLAIN)
        return
    try:
        _write_shard(header, frames, FAST)
    except OutputError as problem:
        # Of noise that LZ4 cannot shrink the library says only that something failed.
        if getattr(problem.__cause__, "errno", None) != errno.EIO:
            raise
        _write_shard(header, frames, PLAIN)


def _write_shard(header: ShardHeader, frames: Iterable[Codes], compression: dict[str, Any]) -> None:
    with atomic_output(header.path) as aside, netcdf_output(aside) as dataset:
        dataset.setncatts({"Conventions": "CF-1.8", **header.attributes})
        write_times(dataset, header.times)
        write_grid(dataset, header.grid)
        sequence = dataset.createVariable("sequence", "i4", ("time",))
        sequence.long_name = "number of the unbroken sequence of frames"
        sequence[:] = header.sequence
        variable = _packed_variable(dataset, header, compression)
        for number, frame in enumerate(frames):
            variable[number] = frame


@contextmanager
def netcdf_output(path: Path) -> Iterator[netCDF4.Dataset]:
    """Open a new netCDF4 file; its failures become an ``OSError`` with the right number.

    netCDF itself reports a full disk as a RuntimeError without a number.
    """
    try:
        with netCDF4.Dataset(path, "w", format="NETCDF4") as dataset:
            yield dataset
    except RuntimeError as problem:
        free = os.statvfs(path.parent).f_bavail
        raise OSError(errno.ENOSPC if free < 64 else errno.EIO, str(problem)) from problem


def _packed_variable(
    dataset: netCDF4.Dataset, header: ShardHeader, compression: dict[str, Any]
) -> netCDF4.Variable[Any]:
    quantity, packing = QUANTITIES[header.quantity], header.packing
    variable = dataset.createVariable(
        quantity.name,
        np.dtype(packing.dtype).str[1:],
        ("time", "y", "x"),
        fill_value=packing.fill,
        chunksizes=(1, *header.grid.shape),
        **compression,
    )
    attributes = {
        "long_name": quantity.long_name,
        "units": quantity.units,
        "scale_factor": packing.scale,
        "add_offset": packing.offset,
    }
    if quantity.standard_name:
        attributes["standard_name"] = quantity.standard_name
    if header.grid.projection:
        attributes["grid_mapping"] = "crs"
    variable.setncatts(attributes)
    variable.set_auto_maskandscale(False)
    return variable
