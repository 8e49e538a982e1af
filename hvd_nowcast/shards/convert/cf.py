"""Any CF netCDF file with a rain rate or a reflectivity, our own shards included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import netCDF4
import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import Grid, equirectangular_grid
from hvd_nowcast.shards.convert.netcdf import (
    OpenFiles,
    attributes_of,
    open_netcdf,
    read_axis,
    read_frame,
    read_times,
    require_field,
)
from hvd_nowcast.shards.convert.reflectivity import (
    attributes_for,
    rain_from_reflectivity,
    relation_of,
)
from hvd_nowcast.shards.convert.source import Field, FrameSource, Options, sequences_of
from hvd_nowcast.shards.schema import RAIN_PACKING, Packing, Times

STANDARD_NAMES = (
    "rainfall_rate",
    "lwe_precipitation_rate",
    "rainfall_flux",
    "precipitation_flux",
    "equivalent_reflectivity_factor",
)
NAMES = ("rain_rate", "reflectivity", "precip_intensity", "vil")
# Factor to mm h-1. Names are an allow-list: 1 kg m-2 s-1 is 3600 mm h-1, a guess would be wrong.
RATE_UNITS = {
    "mm h-1": 1.0,
    "mm/h": 1.0,
    "mm hr-1": 1.0,
    "mm/hr": 1.0,
    "mm hour-1": 1.0,
    "kg m-2 h-1": 1.0,
    "kg m-2 s-1": 3600.0,
    "mm s-1": 3600.0,
    "m s-1": 3.6e6,
}
REFLECTIVITY_UNITS = ("dBZ", "dbz", "DBZ")
VIL_UNITS = ("1",)
# Factor to metres.
LENGTH_UNITS = {"m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0, "km": 1000.0}
NORTH_UNITS = ("degrees_north", "degree_north", "degrees_N", "degree_N", "degrees", "degree")
EAST_UNITS = ("degrees_east", "degree_east", "degrees_E", "degree_E", "degrees", "degree")
# Of a file that says nothing about where its pixels lie.
USUAL_PIXEL_METRES = 1000.0
ZR_ATTRIBUTES = ("zr_name", "zr_a", "zr_b", "zr_no_echo_dbz")
KEPT_ATTRIBUTES = ("title", "institution", "license", "source", "references", "comment")

NETCDF_BEGINNINGS = (b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF")


class _File(NamedTuple):
    """What is to be known of one input file; it is closed again."""

    path: Path
    variable: str
    units: str
    packing: Packing | None
    times: Times
    grid: Grid
    rows: slice
    columns: slice
    attributes: dict[str, Any]


class _Kind(NamedTuple):
    """What a unit means: the quantity, the way to its values, and attributes to be kept."""

    quantity: str
    convert: Callable[[Field], Field]
    attributes: dict[str, Any]


def open_cf(paths: Sequence[Path], options: Options) -> FrameSource:
    """Open CF files that follow each other in time.

    Parameters
    ----------
    paths
        Files in any order.
    options
        Which variable, and which relation for a reflectivity.

    Raises
    ------
    InputError
        When a file has no usable variable, or does not fit the others.
    """
    files = sorted((_examine(path, options) for path in paths), key=lambda file: file.times[0])
    first = files[0]
    for other in files[1:]:
        _require_same(first, other)
    kind = _kind(first, options)
    times = np.concatenate([file.times for file in files])
    places = [(file, number) for file in files for number in range(len(file.times))]
    frame_files = [file.path for file, _ in places]
    opened = OpenFiles()

    def read(number: int) -> Field:
        file, frame = places[number]
        values = read_frame(file.path, opened.variable(file.path, file.variable), frame)
        return kind.convert(values[file.rows, file.columns])

    return FrameSource(
        kind.quantity,
        _packing(files, kind),
        first.grid,
        times,
        sequences_of(times, frame_files),
        read,
        frame_files,
        {name: first.attributes[name] for name in KEPT_ATTRIBUTES if name in first.attributes}
        | kind.attributes,
    )


def recognise_cf(path: Path) -> bool:
    """Whether a file is netCDF, so that `open_cf` can say what is in it."""
    with path.open("rb") as file:
        beginning = file.read(4)
    return beginning in NETCDF_BEGINNINGS or path.suffix in (".nc", ".nc4", ".cdf")


def _examine(path: Path, options: Options) -> _File:
    with open_netcdf(path) as dataset:
        variable = _find(dataset, path, options.variable)
        require_field(path, variable)
        time_name = variable.dimensions[0]
        if time_name not in dataset.variables:
            raise InputError(path, f"there is no variable for the time {time_name}", "Add CF times")
        grid, rows, columns = _grid(path, dataset, variable)
        return _File(
            path,
            variable.name,
            str(getattr(variable, "units", "")).strip(),
            _own_packing(variable),
            read_times(path, dataset[time_name], variable.shape[0]),
            grid,
            rows,
            columns,
            attributes_of(dataset, dataset.ncattrs()),
        )


def _candidates(dataset: netCDF4.Dataset) -> list[str]:
    by_standard_name = [
        name
        for name, variable in dataset.variables.items()
        if getattr(variable, "standard_name", None) in STANDARD_NAMES
    ]
    return by_standard_name or [name for name in NAMES if name in dataset.variables]


def _find(dataset: netCDF4.Dataset, path: Path, wanted: str | None) -> netCDF4.Variable[Any]:
    candidates = [wanted] if wanted else _candidates(dataset)
    there = ", ".join(dataset.variables) or "none"
    if len(candidates) != 1:
        problem = "several rain variables" if candidates else "no rain rate or reflectivity"
        raise InputError(
            path, f"found {problem} among the variables {there}", "Name one with --variable"
        )
    if candidates[0] not in dataset.variables:
        raise InputError(
            path, f"has no variable {wanted}, it has: {there}", "Give another --variable"
        )
    return dataset[candidates[0]]


def _grid(
    path: Path, dataset: netCDF4.Dataset, variable: netCDF4.Variable[Any]
) -> tuple[Grid, slice, slice]:
    """The grid, and the slices that turn a stored frame so that row 0 is north, column 0 west."""
    (y, y_units), (x, x_units) = (
        _axis(path, dataset, name, length)
        for name, length in zip(variable.dimensions[1:], variable.shape[1:], strict=True)
    )
    if y is None or x is None:
        rows, columns = variable.shape[1:]
        across = (np.arange(columns) + 0.5) * USUAL_PIXEL_METRES
        down = (rows - np.arange(rows) - 0.5) * USUAL_PIXEL_METRES
        return Grid(across, down, _projection(dataset, variable)), slice(None), slice(None)
    turn_y = slice(None, None, -1 if y[0] < y[-1] else 1)
    turn_x = slice(None, None, -1 if x[0] > x[-1] else 1)
    y, x = y[turn_y], x[turn_x]
    if (np.diff(y) >= 0).any() or (np.diff(x) <= 0).any():
        raise InputError(path, "its x or y neither rises nor falls", "Repair its coordinates")
    if y_units in NORTH_UNITS and x_units in EAST_UNITS:
        return equirectangular_grid(y, x), turn_y, turn_x
    for units in (y_units, x_units):
        if units not in LENGTH_UNITS:
            raise InputError(
                path,
                f"x or y has the units {units!r}, expected {', '.join(LENGTH_UNITS)} or degrees",
                "Repair their units attribute",
            )
    metres_y, metres_x = y * LENGTH_UNITS[y_units], x * LENGTH_UNITS[x_units]
    return Grid(metres_x, metres_y, _projection(dataset, variable)), turn_y, turn_x


def _axis(
    path: Path, dataset: netCDF4.Dataset, name: str, length: int
) -> tuple[NDArray[np.float64] | None, str]:
    if name not in dataset.variables:
        return None, "m"
    units = str(getattr(dataset[name], "units", "m")).strip()
    return read_axis(path, dataset[name], length), units


def _projection(dataset: netCDF4.Dataset, variable: netCDF4.Variable[Any]) -> dict[str, Any]:
    # The long form "crs: x y" names the coordinates too.
    name = str(getattr(variable, "grid_mapping", "")).partition(":")[0].strip()
    if name not in dataset.variables:
        return {}
    return attributes_of(dataset[name], dataset[name].ncattrs())


def _require_same(first: _File, other: _File) -> None:
    if other.grid.digest != first.grid.digest:
        raise InputError(
            other.path,
            f"its grid {other.grid.shape} is not that of {first.path.name} {first.grid.shape}",
            "Build one folder of shards for each grid",
        )
    if (other.variable, other.units) != (first.variable, first.units):
        raise InputError(
            other.path,
            f"holds {other.variable} in {other.units}, but {first.path.name} holds "
            f"{first.variable} in {first.units}",
            "Build them separately",
        )


def _kind(file: _File, options: Options) -> _Kind:
    if file.units in RATE_UNITS:
        factor = np.float32(RATE_UNITS[file.units])
        kept = {name: file.attributes[name] for name in ZR_ATTRIBUTES if name in file.attributes}
        return _Kind("rain_rate", lambda values: values * factor, kept)
    if file.units in REFLECTIVITY_UNITS:
        relation = relation_of(file.attributes, options.relation)
        return _Kind("rain_rate", rain_from_reflectivity(relation), attributes_for(relation))
    if file.units in VIL_UNITS and file.variable == "vil":
        return _Kind("vil", lambda values: values, {})
    known = ", ".join([*RATE_UNITS, REFLECTIVITY_UNITS[0]])
    raise InputError(
        file.path,
        f"{file.variable} has the units {file.units!r}, expected one of {known}",
        "Convert it, or repair its units attribute",
    )


def _own_packing(variable: netCDF4.Variable[Any]) -> Packing | None:
    """The variable's packing where it is one of ours, so that no count need change."""
    fill = getattr(variable, "_FillValue", None)
    scale = float(getattr(variable, "scale_factor", 1.0))
    usual = float(getattr(variable, "add_offset", 0.0)) == 0 and 0 < scale < np.inf
    if str(variable.dtype) not in ("uint8", "uint16") or fill is None or not usual:
        return None
    return Packing(str(variable.dtype), scale, 0.0, int(fill))


def _packing(files: Sequence[_File], kind: _Kind) -> Packing:
    if kind.quantity == "vil":
        return Packing("uint8", 1.0, 0.0, 255)
    packings = {file.packing for file in files}
    own = packings.pop() if len(packings) == 1 else None
    if own is None or files[0].units not in RATE_UNITS:
        return RAIN_PACKING
    return Packing(own.dtype, own.scale * RATE_UNITS[files[0].units], 0.0, own.fill)
