"""Any CF netCDF file with a rain rate or a reflectivity, our own shards included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from hvd_nowcast.errors import ConfigError, InputError
from hvd_nowcast.grid import RELATIONS, Grid, ReflectivityRelation
from hvd_nowcast.shards.convert.netcdf import (
    attributes_of,
    bounded,
    decoded,
    open_netcdf,
    read_times,
)
from hvd_nowcast.shards.convert.source import Field, FrameSource, Options, sequences_of
from hvd_nowcast.shards.schema import RAIN_PACKING, Packing, Times

STANDARD_NAMES = (
    "rainfall_rate",
    "lwe_precipitation_rate",
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
# Echoes weaker than this are no rain in any relation (below 0.004 mm h-1).
NO_ECHO_DBZ = -10.0
KEPT_ATTRIBUTES = ("title", "institution", "license", "source", "references", "comment")


@dataclass
class _File:
    """One open input file."""

    path: Path
    variable: netCDF4.Variable[Any]
    times: Times
    grid: Grid
    flipped: bool


def open_cf(paths: Sequence[Path], options: Options) -> FrameSource:
    """Open CF files that follow each other in time.

    Raises
    ------
    InputError
        When a file has no usable variable, or does not fit the others.
    """
    files = sorted((_open_file(path, options) for path in paths), key=lambda file: file.times[0])
    first = files[0]
    for other in files[1:]:
        _require_same(first, other)
    times = np.concatenate([file.times for file in files])
    places = [(file, number) for file in files for number in range(len(file.times))]
    convert, quantity, packing, extra = _conversion(first, options)

    def read(number: int) -> Field:
        file, frame = places[number]
        rows = file.variable[frame]
        rows = rows[::-1] if file.flipped else rows
        return convert(decoded(file.variable, rows))

    return FrameSource(
        quantity,
        packing,
        first.grid,
        times,
        sequences_of(times, first.path),
        read,
        [file.path for file, _ in places],
        attributes_of(first.variable.group(), KEPT_ATTRIBUTES) | extra,
    )


def recognise_cf(path: Path) -> bool:
    """Whether a file is netCDF with a variable we know."""
    if path.suffix not in (".nc", ".nc4", ".cdf"):
        return False
    with open_netcdf(path) as dataset:
        return bool(_candidates(dataset))


def _open_file(path: Path, options: Options) -> _File:
    dataset = open_netcdf(path)
    variable = _find(dataset, path, options.variable)
    if len(variable.dimensions) != 3 or not np.issubdtype(variable.dtype, np.number):
        raise InputError(
            path,
            f"expected {variable.name} as numbers on (time, y, x), it is {variable.dtype} on "
            f"{variable.dimensions}",
            "Choose another with --variable",
        )
    bounded(path, variable)
    if not variable.shape[0]:
        raise InputError(path, f"{variable.name} has no frame", "Give a file with frames")
    time_name, y_name, x_name = variable.dimensions
    if time_name not in dataset.variables:
        raise InputError(path, f"there is no variable for the time {time_name}", "Add CF times")
    grid, flipped = _grid(path, dataset, variable, y_name, x_name)
    return _File(path, variable, read_times(path, dataset[time_name]), grid, flipped)


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
        raise InputError(path, f"has no variable {wanted}, it has: {there}", "Give another name")
    return dataset[candidates[0]]


def _grid(
    path: Path, dataset: netCDF4.Dataset, variable: netCDF4.Variable[Any], y_name: str, x_name: str
) -> tuple[Grid, bool]:
    axes = []
    for name, size in ((y_name, variable.shape[1]), (x_name, variable.shape[2])):
        if name in dataset.variables and dataset[name].ndim == 1:
            factor = 1000.0 if getattr(dataset[name], "units", "m") == "km" else 1.0
            axes.append(np.asarray(dataset[name][:], np.float64) * factor)
        else:
            axes.append((np.arange(size) + 0.5) * 1000.0)
    y, x = axes
    flipped = len(y) > 1 and y_name in dataset.variables and y[0] < y[-1]
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        raise InputError(path, "its x or y is not finite", "Repair the coordinates")
    return Grid(x, y[::-1] if flipped else y, _projection(dataset, variable)), bool(flipped)


def _projection(dataset: netCDF4.Dataset, variable: netCDF4.Variable[Any]) -> dict[str, Any]:
    name = getattr(variable, "grid_mapping", "")
    if name not in dataset.variables:
        return {}
    return attributes_of(dataset[name], dataset[name].ncattrs())


def _require_same(first: _File, other: _File) -> None:
    if other.grid.digest != first.grid.digest:
        raise InputError(
            other.path,
            f"its grid {other.grid.shape} is not that of {first.path} {first.grid.shape}",
            "Build one folder of shards for each grid",
        )
    if other.variable.units != first.variable.units or other.variable.name != first.variable.name:
        raise InputError(
            other.path,
            f"holds {other.variable.name} in {other.variable.units}, but {first.path.name} holds "
            f"{first.variable.name} in {first.variable.units}",
            "Build them separately",
        )


def _conversion(
    file: _File, options: Options
) -> tuple[Callable[[Field], Field], str, Packing, dict[str, Any]]:
    """How values become a known quantity: function, quantity, packing and attributes."""
    units = str(getattr(file.variable, "units", "")).strip()
    if units in RATE_UNITS:
        factor = RATE_UNITS[units]
        return lambda v: v * np.float32(factor), "rain_rate", _packing(file.variable, factor), {}
    if units in REFLECTIVITY_UNITS:
        relation = relation_of(file.variable.group(), options.relation)
        return rain_from_reflectivity(relation), "rain_rate", RAIN_PACKING, attributes_for(relation)
    if units in VIL_UNITS and file.variable.name == "vil":
        return lambda v: v, "vil", Packing("uint8", 1.0, 0.0, 255), {}
    known = ", ".join([*RATE_UNITS, REFLECTIVITY_UNITS[0]])
    raise InputError(
        file.path,
        f"{file.variable.name} has the units {units!r}, expected one of {known}",
        "Convert it, or repair its units attribute",
    )


def _packing(variable: netCDF4.Variable[Any], factor: float) -> Packing:
    """The input's own packing where it is one of ours, so that nothing is lost."""
    fill = getattr(variable, "_FillValue", None)
    if str(variable.dtype) in ("uint8", "uint16") and fill is not None:
        scale = float(getattr(variable, "scale_factor", 1.0)) * factor
        offset = float(getattr(variable, "add_offset", 0.0)) * factor
        if scale > 0 and offset == 0:
            return Packing(str(variable.dtype), scale, 0.0, int(fill))
    return RAIN_PACKING


def relation_named(name: str) -> ReflectivityRelation:
    """Look up a reflectivity-rain relation.

    Raises
    ------
    ConfigError
        When it is not known.
    """
    if name not in RELATIONS:
        raise ConfigError(f"--relation {name}: expected one of {', '.join(RELATIONS)}")
    return RELATIONS[name]


def relation_of(attributes: Any, wanted: str | None) -> ReflectivityRelation:
    """Choose a relation: the one asked for, the file's own, or Marshall and Palmer's."""
    if wanted is not None:
        return relation_named(wanted)
    if not {"zr_a", "zr_b"} <= set(attributes.ncattrs()):
        return RELATIONS["marshall-palmer"]
    a, b = float(attributes.zr_a), float(attributes.zr_b)
    named = [relation for relation in RELATIONS.values() if (relation.a, relation.b) == (a, b)]
    return named[0] if named else ReflectivityRelation("file", a, b, "attributes of the file")


def rain_from_reflectivity(relation: ReflectivityRelation) -> Callable[[Field], Field]:
    """Conversion of dBZ to mm h-1; echoes below ``NO_ECHO_DBZ`` are no rain."""

    def convert(reflectivity: Field) -> Field:
        rate = np.asarray(relation.rain_rate(reflectivity.astype(np.float64)))
        # Hail and clutter reach reflectivities that no rain has.
        rate = np.minimum(np.where(reflectivity < NO_ECHO_DBZ, 0.0, rate), 500.0)
        return np.where(np.isnan(reflectivity), np.nan, rate).astype(np.float32)

    return convert


def attributes_for(relation: ReflectivityRelation) -> dict[str, Any]:
    """Attributes that say how reflectivity became rain."""
    return {"zr_name": relation.name, "zr_a": relation.a, "zr_b": relation.b}
