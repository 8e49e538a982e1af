"""Opening HDF5 files, which needs an optional package."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hvd_nowcast.errors import InputError
from hvd_nowcast.optional import import_optional
from hvd_nowcast.shards.reader import LARGEST_COMPRESSION, LARGEST_FRAME_BYTES

SIGNATURE = b"\x89HDF\r\n\x1a\n"


def open_hdf5(path: Path) -> Any:
    """Open a file for reading.

    Raises
    ------
    InputError
        When it is empty, damaged or not HDF5.
    """
    h5py = import_optional("h5py", "HDF5 radar files need h5py", "'hvd_nowcast[convert]'")
    try:
        return h5py.File(path, "r")
    except PermissionError as problem:
        raise InputError(path, "no permission to read it", "Change its permissions") from problem
    except OSError as problem:
        raise InputError(
            path, f"expected HDF5, but it cannot be opened ({problem})", "Copy or download it again"
        ) from problem


def is_hdf5_with(path: Path, dataset: str) -> bool:
    """Whether a file is HDF5 and holds a dataset."""
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return False
    with open_hdf5(path) as content:
        return dataset in content


def require_bounded(path: Path, dataset: Any, pieces: int = 1) -> None:
    """Refuse a dataset that declares far more than its file can hold, before it is allocated.

    Parameters
    ----------
    path
        The file.
    dataset
        An open HDF5 dataset.
    pieces
        In how many equal parts it will be read.

    Raises
    ------
    InputError
        Naming the declared and the real size.
    """
    held = path.stat().st_size
    chunk = dataset.dtype.itemsize * math.prod(dataset.chunks or (0,))
    piece = max(chunk, dataset.nbytes // max(pieces, 1))
    if piece > LARGEST_FRAME_BYTES or dataset.nbytes > held * LARGEST_COMPRESSION:
        raise InputError(
            path,
            f"{dataset.name} declares {dataset.nbytes} bytes in a file of {held}",
            "The file is damaged: copy it again",
        )


def read_part(path: Path, dataset: Any, part: Any) -> Any:
    """Read a part of a dataset.

    Raises
    ------
    InputError
        When it cannot be decompressed.
    """
    try:
        return dataset[part]
    except (OSError, RuntimeError, ValueError) as problem:
        raise InputError(
            path, f"{dataset.name} cannot be read ({problem})", "Copy or download it again"
        ) from problem


def require(content: Any, path: Path, *names: str) -> None:
    """Refuse a file without the named datasets.

    Raises
    ------
    InputError
        Naming what is missing and what is there.
    """
    missing = [name for name in names if name not in content]
    if missing:
        raise InputError(
            path,
            f"has no {', '.join(missing)}; it holds {', '.join(content) or 'nothing'}",
            "Give files of this format, or another --format",
        )
