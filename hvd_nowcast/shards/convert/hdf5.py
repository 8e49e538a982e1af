"""Opening HDF5 files, which needs an optional package."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from hvd_nowcast.errors import InputError, MissingDependencyError

SIGNATURE = b"\x89HDF\r\n\x1a\n"


def import_h5py() -> ModuleType:
    """Import h5py.

    Raises
    ------
    MissingDependencyError
        When it is not installed.
    """
    try:
        import h5py
    except ImportError as problem:
        raise MissingDependencyError(
            "HDF5 radar files need h5py: pip install 'hvd_nowcast[convert]'"
        ) from problem
    return h5py


def open_hdf5(path: Path) -> Any:
    """Open a file for reading.

    Raises
    ------
    InputError
        When it is empty, damaged or not HDF5.
    """
    h5py = import_h5py()
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
