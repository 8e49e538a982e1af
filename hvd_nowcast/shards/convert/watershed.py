"""Watersheds: rain, flow directions or river segments, and gauges, from one netCDF file or several.

Each variable is looked for by its usual names in all the files, so that the separate files of
LISFLOOD are read like one file that holds everything. Discharge and inflow may be PCRaster time
series (``.tss``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import Grid, equirectangular_grid
from hvd_nowcast.hydrology.contribution import Units
from hvd_nowcast.hydrology.network import (
    OUTSIDE,
    FlowNetwork,
    directions_to_pointers,
    require_no_circle,
)
from hvd_nowcast.hydrology.watershed import Watershed
from hvd_nowcast.shards.convert.netcdf import (
    attributes_of,
    decoded,
    open_netcdf,
    read_times,
    require_field,
)
from hvd_nowcast.shards.convert.source import FrameSource, Options, sequences_of
from hvd_nowcast.shards.convert.time_series import read_time_series
from hvd_nowcast.shards.schema import Packing
from hvd_nowcast.shards.watershed import WATERSHED, write_watershed

Array = NDArray[np.float64]

# Usual names of each variable, ours first.
NAMES = {
    "precipitation": ("precipitation", "pr", "tp", "prcp", "rain"),
    "direction": ("flow_direction", "ldd", "ldd1", "d8"),
    "elevation": ("elevation", "dem"),
    "slope": ("slope",),
    "cell_area": ("cell_area", "pixarea"),
    "discharge": ("discharge", "dis"),
    "inflow": ("inflow", "external_inflow"),
    "pet": ("pet",),
    "y": ("y", "lat", "latitude"),
    "x": ("x", "lon", "longitude"),
}
MILLIMETRES = {"mm": 1.0, "kg m-2": 1.0, "cm": 10.0, "m": 1000.0, "in": 25.4, "inch": 25.4}
MILLIMETRES["inches"] = 25.4
PER_DAY = {"mm day-1": 1.0, "mm/day": 1.0, "mm d-1": 1.0, "in/day": 25.4, "kg m-2 s-1": 86400.0}
CUBIC_METRES = {
    "m3 s-1": 1.0,
    "m3/s": 1.0,
    "m3s-1": 1.0,
    "ft3 s-1": 0.0283168466,
    "cfs": 0.0283168466,
}
SQUARE_KILOMETRES = {"km2": 1.0, "km^2": 1.0, "m2": 1e-6, "acres": 0.0040468564}
METRES_PER_DEGREE = 111_195.0
PLAIN_SLOPE = 1e-3
MILLIMETRE_STEP = 0.01
KEPT_ATTRIBUTES = ("title", "license", "institution", "source", "references")


def open_watershed(paths: Sequence[Path], options: Options) -> FrameSource:
    """Open the files of one watershed.

    Parameters
    ----------
    paths
        All its files.
    options
        Not used.

    Raises
    ------
    InputError
        When a variable is missing, in an unknown unit, or does not fit the others; when water runs
        in a circle, or a gauge lies outside the grid.
    """
    files = _Files(paths)
    return _network_source(files) if files.has("downstream_segment") else _grid_source(files)


def recognise_watershed(path: Path) -> bool:
    """Whether a file holds flow directions or river segments."""
    try:
        with open_netcdf(path) as dataset:
            names = {*NAMES["direction"], "downstream_segment"}
            return bool(names & set(dataset.variables))
    except InputError:
        return False


class _Files:
    """Variables of several files under one roof."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.series = [path for path in paths if path.suffix == ".tss"]
        self._open = {path: open_netcdf(path) for path in paths if path.suffix != ".tss"}
        self.first = next(iter(self._open), paths[0])

    def find(self, name: str) -> tuple[Path, netCDF4.Variable[Any]] | None:
        for candidate in NAMES.get(name, (name,)):
            for path, dataset in self._open.items():
                if candidate in dataset.variables:
                    return path, dataset.variables[candidate]
        return None

    def has(self, name: str) -> bool:
        return self.find(name) is not None

    def need(self, name: str) -> tuple[Path, netCDF4.Variable[Any]]:
        found = self.find(name)
        if found is None:
            names = ", ".join(NAMES.get(name, (name,)))
            raise InputError(
                self.first, f"there is no variable for the {name} ({names})", "Give its file too"
            )
        return found

    def numbers(self, name: str) -> Array:
        """A variable as numbers, NaN where missing."""
        path, variable = self.need(name)
        try:
            return decoded(variable, np.asarray(_raw(variable)), np.float64)
        except (RuntimeError, OSError) as problem:
            raise InputError(
                path, f"{name} cannot be read ({problem})", "Copy it again"
            ) from problem

    def whole_numbers(self, name: str) -> NDArray[np.int64]:
        values = self.numbers(name)
        return np.where(np.isfinite(values), values, -1).astype(np.int64)

    def scaled(self, name: str, units: dict[str, float]) -> Array:
        """A variable in our unit."""
        path, variable = self.need(name)
        return self.numbers(name) * _factor(path, name, str(getattr(variable, "units", "")), units)

    def attributes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for dataset in self._open.values():
            found |= attributes_of(dataset, dataset.ncattrs())
        return found

    def times(self, name: str) -> NDArray[np.datetime64]:
        """Times of the file that holds a variable."""
        path, variable = self.need(name)
        dataset = self._open[path]
        if "time" not in dataset.variables:
            raise InputError(path, f"{name} has no times", "Add the variable time")
        return read_times(path, dataset.variables["time"], len(dataset.dimensions["time"]))


def _raw(variable: netCDF4.Variable[Any]) -> Any:
    variable.set_auto_maskandscale(False)
    return variable[:]


def _factor(path: Path, name: str, units: str, known: dict[str, float]) -> float:
    key = units.strip().lower().replace("**", "").replace("^", "")
    if key not in known:
        raise InputError(
            path, f"{name} is in {units!r}, expected one of {', '.join(known)}", "Convert it"
        )
    return known[key]


def _grid_source(files: _Files) -> FrameSource:
    path, direction = files.need("direction")
    rain_path, rain = files.need("precipitation")
    require_field(rain_path, rain)
    grid, spacing, north_first = _grid(files)
    turn = slice(None) if north_first else slice(None, None, -1)
    codes = np.where(np.isfinite(files.numbers("direction")), files.numbers("direction"), 255)
    if codes.shape != rain.shape[1:] or codes.shape != grid.shape:
        raise InputError(
            path,
            f"the flow directions have the shape {codes.shape}, the rain {rain.shape[1:]}",
            "Give both on one grid",
        )
    pointers = directions_to_pointers(codes[turn], path)
    network = _grid_network(files, pointers, grid, spacing, turn)
    cells = np.arange(len(pointers))
    inside = pointers != OUTSIDE
    units = Units(np.where(inside, cells, OUTSIDE), *np.divmod(cells, grid.shape[1]), network.area)
    times = files.times("precipitation")
    attributes = files.attributes()
    rows = grid.shape[0]

    def node(row: int, column: int, what: str) -> int:
        row = row if north_first else rows - 1 - row
        if (
            not (0 <= row < rows and 0 <= column < grid.shape[1])
            or not inside[row * grid.shape[1] + column]
        ):
            raise InputError(
                path,
                f"the {what} at row {row}, column {column} lies outside the watershed",
                f"The grid has {rows} rows and {grid.shape[1]} columns, numbered from 0",
            )
        return row * grid.shape[1] + column

    discharge = _series(files, "discharge", times)
    names, places = _places(files, attributes, "outlet", "gauge", discharge.shape[1])
    inflow = _series(files, "inflow", times) if _has_series(files, "inflow") else None
    inflow_places = (
        [] if inflow is None else _places(files, attributes, "inflow", "inflow", inflow.shape[1])[1]
    )
    watershed = Watershed(
        network,
        units,
        tuple(names),
        np.array([node(*place, "gauge") for place in places], np.int64),
        times,
        discharge,
        np.zeros((len(times), 0), np.float32) if inflow is None else inflow,
        np.array([node(*place, "inflow") for place in inflow_places], np.int64),
        _pet(files, times),
    )
    step = _step_hours(times, rain_path)
    factor = _rain_factor(rain_path, rain, step)

    def read(number: int) -> NDArray[np.float32]:
        values = decoded(rain, np.asarray(rain[number]), np.float64)[turn]
        return (values * factor / step).astype(np.float32)

    rain.set_auto_maskandscale(False)
    return _source(grid, times, read, rain_path, watershed, step, attributes)


def _network_source(files: _Files) -> FrameSource:
    path, _ = files.need("downstream_segment")
    rain_path, rain = files.need("precipitation")
    pointers = files.whole_numbers("downstream_segment")
    nodes = np.arange(len(pointers))
    downstream = np.where(pointers < 0, nodes, pointers)
    require_no_circle(downstream, path)
    unit_node = files.whole_numbers("hru_segment")
    area = files.scaled("hru_area", SQUARE_KILOMETRES)
    drains = unit_node >= 0
    own = np.bincount(unit_node[drains], area[drains], len(nodes)).astype(np.float64)
    slope = np.full(len(nodes), PLAIN_SLOPE)
    if files.has("hru_slope"):
        steep = np.bincount(
            unit_node[drains], (area * files.numbers("hru_slope"))[drains], len(nodes)
        )
        slope = np.divide(steep, own, out=slope, where=own > 0)
    network = FlowNetwork(downstream, files.numbers("segment_length"), slope, own)
    latitude, longitude = files.numbers("hru_lat"), files.numbers("hru_lon")
    grid, row, column = _raster(latitude, longitude, area)
    units = Units(unit_node, row, column, area)
    times = files.times("precipitation")
    discharge = _series(files, "discharge", times)
    gauge_node = files.whole_numbers("gauge_segment")
    land = np.array(
        [area[(unit_node >= 0)].size and network.upstream_area[n] > 0 for n in gauge_node]
    )
    kept = np.flatnonzero(np.isfinite(discharge).any(0) & land)
    names = [str(name) for name in files.need("gauge_id")[1][:]]
    watershed = Watershed(
        network,
        units,
        tuple(names[gauge] for gauge in kept),
        gauge_node[kept],
        times,
        discharge[:, kept],
        np.zeros((len(times), 0), np.float32),
        np.zeros(0, np.int64),
        _pet(files, times),
    )
    step = _step_hours(times, rain_path)
    factor = _rain_factor(rain_path, rain, step)
    depth = files.numbers("precipitation") * factor / step
    pixel = row * grid.shape[1] + column
    total = np.bincount(pixel, area, grid.shape[0] * grid.shape[1])

    def read(number: int) -> NDArray[np.float32]:
        known = np.isfinite(depth[number])
        volume = np.bincount(pixel[known], (area * depth[number])[known], len(total))
        there = np.bincount(pixel[known], area[known], len(total))
        mean = np.divide(volume, there, out=np.full(len(total), np.nan), where=there > 0)
        return mean.reshape(grid.shape).astype(np.float32)

    return _source(grid, times, read, rain_path, watershed, step, files.attributes())


def _source(
    grid: Grid,
    times: NDArray[np.datetime64],
    read: Any,
    path: Path,
    watershed: Watershed,
    step: float,
    attributes: dict[str, Any],
) -> FrameSource:
    files = [path] * len(times)
    # A hundredth of a millimetre in a step, whatever the length of the step.
    packing = Packing("uint16", MILLIMETRE_STEP / step, 0.0, 65535)
    return FrameSource(
        "rain_rate",
        packing,
        grid,
        times,
        sequences_of(times, files),
        read,
        files,
        {name: attributes[name] for name in KEPT_ATTRIBUTES if name in attributes},
        companions={WATERSHED: lambda path: write_watershed(path, watershed)},
    )


def _grid(files: _Files) -> tuple[Grid, tuple[float, float], bool]:
    """Grid, size of a pixel in metres along y and x, and whether row 0 is in the north."""
    path, variable = files.need("y")
    y, x = files.numbers("y"), files.numbers("x")
    north_first = bool(len(y) < 2 or y[0] > y[-1])
    y = y if north_first else y[::-1]
    if str(getattr(variable, "units", "m")).startswith("degree"):
        grid = equirectangular_grid(y, x)
    elif str(getattr(variable, "units", "m")) == "m":
        grid = Grid(x, y)
    else:
        raise InputError(path, f"its coordinates are in {variable.units!r}", "Use m or degrees")
    return grid, (_spacing(grid.y), _spacing(grid.x)), north_first


def _spacing(axis: Array) -> float:
    return float(np.abs(np.diff(axis)).mean()) if len(axis) > 1 else 1000.0


def _grid_network(
    files: _Files,
    pointers: NDArray[np.int64],
    grid: Grid,
    spacing: tuple[float, float],
    turn: slice,
) -> FlowNetwork:
    cells = np.arange(len(pointers))
    following = np.where(pointers == OUTSIDE, cells, pointers)
    columns = grid.shape[1]
    down = (following // columns - cells // columns) * spacing[0]
    across = (following % columns - cells % columns) * spacing[1]
    length = np.hypot(down, across)
    inside = pointers != OUTSIDE
    area = np.full(len(cells), spacing[0] * spacing[1] * 1e-6)
    if files.has("cell_area"):
        area = files.scaled("cell_area", SQUARE_KILOMETRES)[turn].ravel()
    return FlowNetwork(
        pointers,
        length,
        _slope(files, following, length, turn),
        np.where(inside & np.isfinite(area), area, 0.0),
    )


def _slope(files: _Files, following: NDArray[np.int64], length: Array, turn: slice) -> Array:
    if files.has("slope"):
        slope = files.numbers("slope")[turn].ravel()
    elif files.has("elevation"):
        height = files.numbers("elevation")[turn].ravel()
        fall = height - height[following]
        slope = np.divide(fall, length, out=np.zeros_like(length), where=length > 0)
    else:
        slope = np.full(len(length), PLAIN_SLOPE)
    return np.nan_to_num(np.maximum(slope, 0.0))


def _raster(
    latitude: Array, longitude: Array, area: Array
) -> tuple[Grid, NDArray[np.int64], NDArray[np.int64]]:
    """Grid on which two pieces of land share a pixel on average, and the pixel of each."""
    side = round(float(np.sqrt(2e6 * area.mean())) / METRES_PER_DEGREE, 2)
    row = np.floor((latitude.max() - latitude) / side).astype(np.int64)
    column = np.floor((longitude - longitude.min()) / side).astype(np.int64)
    rows = latitude.max() - side * (np.arange(row.max() + 1) + 0.5)
    columns = longitude.min() + side * (np.arange(column.max() + 1) + 0.5)
    return equirectangular_grid(rows, columns), row, column


def _places(
    files: _Files, attributes: dict[str, Any], attribute: str, variable: str, count: int
) -> tuple[list[str], list[tuple[int, int]]]:
    """Names and (row, column) of gauges or inflows, from variables or global attributes."""
    if files.has(f"{variable}_row"):
        rows, columns = (
            files.whole_numbers(f"{variable}_row"),
            files.whole_numbers(f"{variable}_col"),
        )
    elif f"{attribute}_row" in attributes:
        rows, columns = (np.atleast_1d(attributes[f"{attribute}_{k}"]) for k in ("row", "col"))
    else:
        raise InputError(
            files.first,
            f"nothing says where the {attribute} is",
            f"Add the attributes {attribute}_row and {attribute}_col, numbered from 0",
        )
    if len(rows) != count:
        raise InputError(
            files.first,
            f"there are {count} series and {len(rows)} places of the {attribute}",
            "Give one place for each",
        )
    names = [str(n) for n in files.need("gauge_id")[1][:]] if files.has("gauge_id") else []
    names = names if len(names) == count else [f"{attribute}{n or ''}" for n in range(count)]
    return names, [(int(r), int(c)) for r, c in zip(rows, columns, strict=True)]


def _has_series(files: _Files, name: str) -> bool:
    return files.has(name) or _series_file(files, name) is not None


def _series_file(files: _Files, name: str) -> Path | None:
    return next((path for path in files.series if path.stem[:3] == name[:3]), None)


def _series(files: _Files, name: str, times: NDArray[np.datetime64]) -> NDArray[np.float32]:
    """A flow in m3/s at the times of the rain, shape (t, series)."""
    table = _series_file(files, name)
    if not files.has(name) and table is not None:
        values = read_time_series(table)
        path, theirs = table, times if len(values) == len(times) else times[: len(values)]
    else:
        path, variable = files.need(name)
        values = files.scaled(name, CUBIC_METRES)
        if variable.dimensions[0] != "time":
            values = values.T
        theirs = files.times(name)
    values = values[:, None] if values.ndim == 1 else values
    if len(theirs) != len(times) or (theirs != times).any():
        raise InputError(
            path,
            f"the {name} has {len(theirs)} time steps from {theirs[0]}, the rain {len(times)} from "
            f"{times[0]}",
            "Give both at the same times",
        )
    if np.nanmin(values, initial=0.0) < 0:
        raise InputError(path, f"the {name} has negative values", "Mark them as missing")
    return values.astype(np.float32)


def _pet(files: _Files, times: NDArray[np.datetime64]) -> NDArray[np.float32]:
    if not files.has("pet"):
        return np.zeros(0, np.float32)
    values = files.scaled("pet", MILLIMETRES)
    if values.shape != times.shape:
        path, _ = files.need("pet")
        raise InputError(path, f"pet has the shape {values.shape}", "Give one value per time step")
    return values.astype(np.float32)


def _step_hours(times: NDArray[np.datetime64], path: Path) -> float:
    if len(times) < 2:
        raise InputError(path, "it holds a single time step", "Give a series")
    return float(np.median(np.diff(times).astype("timedelta64[s]").astype(np.int64)) / 3600.0)


def _rain_factor(path: Path, rain: netCDF4.Variable[Any], step_hours: float) -> float:
    """From the unit of the rain to millimetres in a step."""
    units = str(getattr(rain, "units", ""))
    per_day = {name: factor * step_hours / 24 for name, factor in PER_DAY.items()}
    per_hour = {"mm h-1": step_hours, "mm/h": step_hours}
    return _factor(path, "precipitation", units, {**MILLIMETRES, **per_day, **per_hour})
