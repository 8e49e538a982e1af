"""The radar file of the OpenMRG data set: netCDF with ``R`` in mm h-1, Gothenburg, 2 km."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import RELATIONS, Grid
from hvd_nowcast.shards.convert.netcdf import (
    attributes_of,
    open_netcdf,
    read_axis,
    read_frame,
    read_times,
    require_field,
)
from hvd_nowcast.shards.convert.reflectivity import attributes_for
from hvd_nowcast.shards.convert.source import Field, FrameSource, Options, sequences_of
from hvd_nowcast.shards.schema import RAIN_PACKING

VARIABLE = "R"
PROJECTION_ATTRIBUTES = (
    "grid_mapping_name",
    "straight_vertical_longitude_from_pole",
    "latitude_of_projection_origin",
    "standard_parallel",
    "false_easting",
    "false_northing",
    "semi_major_axis",
    "inverse_flattening",
)


def open_openmrg(paths: Sequence[Path], options: Options) -> FrameSource:
    """Open the one radar file of the set.

    Raises
    ------
    InputError
        When it is not that file.
    """
    path = paths[0]
    dataset = open_netcdf(path)
    needed = {VARIABLE, "time", "x", "y", "crs"}
    there = set(dataset.variables) if "proj_string" in dataset.ncattrs() else set()
    if len(paths) > 1 or not needed <= there:
        raise InputError(
            path,
            f"expected one file with {', '.join(sorted(needed))} and the attribute proj_string",
            "Give openmrg_rad*.nc, or use --format cf",
        )
    variable = dataset[VARIABLE]
    require_field(path, variable)
    frames, rows, columns = variable.shape
    y = read_axis(path, dataset["y"], rows)
    turn = slice(None, None, -1 if y[0] < y[-1] else 1)
    projection = attributes_of(dataset["crs"], PROJECTION_ATTRIBUTES)
    projection["proj4"] = f"{dataset.proj_string} +units=m +no_defs"
    grid = Grid(read_axis(path, dataset["x"], columns), y[turn], projection)
    times = read_times(path, dataset["time"], frames, round_to_seconds=60)
    files = [path] * frames

    def read(number: int) -> Field:
        return read_frame(path, variable, number)[turn]

    attributes = {
        "title": "OpenMRG radar rain rate, Gothenburg",
        "institution": "Swedish Meteorological and Hydrological Institute (SMHI)",
        "license": "CC BY-SA 4.0",
        "references": "https://doi.org/10.5281/zenodo.6673750",
        **attributes_for(RELATIONS["smhi"]),
    }
    return FrameSource(
        "rain_rate",
        RAIN_PACKING,
        grid,
        times,
        sequences_of(times, files),
        read,
        files,
        attributes,
    )


def recognise_openmrg(path: Path) -> bool:
    """Whether a file is of this kind."""
    if path.suffix != ".nc":
        return False
    with open_netcdf(path) as dataset:
        return VARIABLE in dataset.variables and hasattr(dataset, "proj_string")
