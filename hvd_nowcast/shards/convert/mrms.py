"""MRMS precipitation rate: one GRIB2 file per frame, mm h-1, negative where there is no coverage.

GRIB2 needs the optional extra ``grib`` (xarray, cfgrib, eccodes).
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hvd_nowcast.errors import InputError, MissingDependencyError
from hvd_nowcast.grid import Grid
from hvd_nowcast.shards.convert.single_frames import FrameHeader, source_of_files
from hvd_nowcast.shards.convert.source import Field, FrameSource, Options
from hvd_nowcast.shards.schema import Packing

# MRMS gives steps of 0.1 mm h-1.
PACKING = Packing("uint16", 0.1, 0.0, 65535)
METRES_PER_DEGREE = 111_195.0


def open_mrms(paths: Sequence[Path], options: Options) -> FrameSource:
    """Open files of one frame each, plain or gzipped.

    Raises
    ------
    MissingDependencyError
        When the GRIB libraries are not installed.
    InputError
        When a file is not of this kind.
    """
    attributes = {
        "title": "MRMS precipitation rate",
        "institution": "NOAA National Severe Storms Laboratory",
        "comment": "x and y are degrees of longitude and latitude times 111195 m",
    }
    return source_of_files([_header(path) for path in paths], _read, PACKING, attributes)


def recognise_mrms(path: Path) -> bool:
    """Whether a file is of this kind."""
    return path.name.endswith((".grib2", ".grib2.gz", ".grb2"))


def import_cfgrib() -> ModuleType:
    """Import the reader of GRIB2.

    Raises
    ------
    MissingDependencyError
        When it, or the library under it, is not installed.
    """
    try:
        import cfgrib
    except (ImportError, RuntimeError) as problem:
        raise MissingDependencyError(
            "MRMS files need a GRIB2 reader: pip install 'hvd_nowcast[grib]'"
        ) from problem
    return cfgrib


def _message(path: Path) -> Any:
    """The one field of a file, in memory, with its coordinates."""
    cfgrib = import_cfgrib()
    with tempfile.TemporaryDirectory() as scratch:
        plain = path
        if path.suffix == ".gz":
            plain = Path(scratch, path.stem)
            with gzip.open(path) as packed, plain.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
        try:
            content = cfgrib.open_dataset(str(plain), indexpath="")
            (name,) = content.data_vars
            return content[name].load()
        except (EOFError, ValueError, KeyError, OSError) as problem:
            raise InputError(
                path, f"expected one GRIB2 field ({problem})", "Copy it again, or give --format"
            ) from problem


def _header(path: Path) -> FrameHeader:
    field = _message(path)
    y, x = (
        np.asarray(field[name], np.float64) * METRES_PER_DEGREE
        for name in ("latitude", "longitude")
    )
    return FrameHeader(path, np.datetime64(field["valid_time"].values, "s"), Grid(x, y))


def _read(path: Path) -> Field:
    values = np.asarray(_message(path), np.float32)
    return np.where(values < 0, np.nan, values)
