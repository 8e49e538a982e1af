"""Radar files of many kinds, all opened as a `FrameSource`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvd_nowcast.errors import ConfigError, InputError
from hvd_nowcast.shards.convert.cf import open_cf, recognise_cf
from hvd_nowcast.shards.convert.dwd_pycomlink import open_dwd_pycomlink, recognise_dwd_pycomlink
from hvd_nowcast.shards.convert.fmi_pgm import open_fmi_pgm, recognise_fmi_pgm
from hvd_nowcast.shards.convert.knmi import open_knmi, recognise_knmi
from hvd_nowcast.shards.convert.mrms import open_mrms, recognise_mrms
from hvd_nowcast.shards.convert.openmrg import open_openmrg, recognise_openmrg
from hvd_nowcast.shards.convert.sevir import open_sevir, recognise_sevir
from hvd_nowcast.shards.convert.source import FrameSource, Options
from hvd_nowcast.shards.convert.watershed import open_watershed, recognise_watershed
from hvd_nowcast.shards.manifest import MANIFEST

Opener = Callable[[Sequence[Path], Options], FrameSource]


@dataclass(frozen=True)
class Format:
    """A kind of input file.

    Attributes
    ----------
    name
        As given to ``--format``.
    description
        One line for people.
    open
        Paths to a source.
    recognise
        Whether a file is of this kind.
    """

    name: str
    description: str
    open: Opener
    recognise: Callable[[Path], bool]


# The more special kinds come first: the first that recognises a file takes it.
FORMATS = {
    kind.name: kind
    for kind in (
        Format(
            "dwd-pycomlink",
            "DWD RADOLAN-YW sample of the PyPI wheel pycomlink",
            open_dwd_pycomlink,
            recognise_dwd_pycomlink,
        ),
        Format("openmrg", "OpenMRG radar netCDF of Gothenburg", open_openmrg, recognise_openmrg),
        Format("knmi", "KNMI 5-minute rainfall, HDF5", open_knmi, recognise_knmi),
        Format("sevir", "SEVIR VIL events, HDF5, with CATALOG.csv", open_sevir, recognise_sevir),
        Format("fmi-pgm", "FMI composites, PGM or PGM.GZ", open_fmi_pgm, recognise_fmi_pgm),
        Format("mrms", "MRMS precipitation rate, GRIB2", open_mrms, recognise_mrms),
        Format(
            "watershed",
            "rain, flow directions and gauges, netCDF (and .tss series)",
            open_watershed,
            recognise_watershed,
        ),
        Format("cf", "CF netCDF with a rain rate or reflectivity", open_cf, recognise_cf),
    )
}


def open_source(
    paths: Sequence[Path],
    format: str | None = None,
    variable: str | None = None,
    relation: str | None = None,
) -> FrameSource:
    """Open radar files of one kind.

    Parameters
    ----------
    paths
        Files in any order; a folder stands for the files in it.
    format
        Name in `FORMATS`; recognised by content when None.
    variable, relation
        See `Options`.

    Raises
    ------
    InputError
        When files are missing, damaged, or do not fit each other.
    ConfigError
        When the format is not known.
    """
    if format is not None and format not in FORMATS:
        raise ConfigError(f"--format {format}: expected one of {', '.join(FORMATS)}")
    files = list_files(paths)
    if not files:
        raise ConfigError("no input files were given")
    for file in files:
        _require_readable(file)
    kind = FORMATS[format] if format is not None else _recognised(files[0])
    return kind.open(files, Options(variable, relation))


def list_files(paths: Sequence[Path]) -> list[Path]:
    """Files in their order; a folder stands for the files in it.

    Raises
    ------
    InputError
        When a folder is empty or cannot be read.
    """
    return [file for path in paths for file in _files(Path(path))]


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        there = sorted(file for file in path.iterdir() if file.is_file())
    except PermissionError as problem:
        raise InputError(path, "no permission to read it", "Change its permissions") from problem
    # A folder of shards holds their manifest too.
    files = [file for file in there if not file.name.startswith(".") and file.name != MANIFEST]
    if not files:
        raise InputError(path, "the folder is empty", "Give radar files")
    return files


def _require_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            beginning = file.read(1)
    except FileNotFoundError as problem:
        raise InputError(path, "there is no such file", "Check the path") from problem
    except PermissionError as problem:
        raise InputError(path, "no permission to read it", "Change its permissions") from problem
    except OSError as problem:
        raise InputError(path, f"cannot be read ({problem.strerror})", "Copy it") from problem
    if not beginning:
        raise InputError(path, "the file is empty", "Copy or download it again")


def _recognised(path: Path) -> Format:
    for kind in FORMATS.values():
        if kind.recognise(path):
            return kind
    raise InputError(
        path, "of no known kind", f"Say which it is with --format: {', '.join(FORMATS)}"
    )
