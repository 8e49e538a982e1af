"""The radar file of the OpenMRG data set: netCDF with ``R`` in mm h-1, Gothenburg, 2 km."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import RELATIONS, Grid
from hvd_nowcast.shards.convert.cf import attributes_for
from hvd_nowcast.shards.convert.netcdf import bounded, decoded, open_netcdf, read_times
from hvd_nowcast.shards.convert.source import Field, FrameSource, Options, sequences_of
from hvd_nowcast.shards.schema import RAIN_PACKING

VARIABLE = "R"


def open_openmrg(paths: Sequence[Path], options: Options) -> FrameSource:
    """Open the one radar file of the set.

    Raises
    ------
    InputError
        When it is not that file.
    """
    path = paths[0]
    dataset = open_netcdf(path)
    needed = {VARIABLE, "time", "x", "y"}
    if len(paths) > 1 or not needed <= set(dataset.variables):
        raise InputError(
            path, f"expected one file with {', '.join(sorted(needed))}", "Give openmrg_rad*.nc"
        )
    variable = dataset[VARIABLE]
    bounded(path, variable)
    y = np.asarray(dataset["y"][:], np.float64)
    flipped = bool(y[0] < y[-1])
    text = str(getattr(dataset, "proj_string", ""))
    projection = {"proj4": text} if text else {}
    grid = Grid(np.asarray(dataset["x"][:], np.float64), y[::-1] if flipped else y, projection)
    times = read_times(path, dataset["time"], round_to_seconds=60)

    def read(number: int) -> Field:
        values = decoded(variable, variable[number])
        return values[::-1] if flipped else values

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
        sequences_of(times, path),
        read,
        [path] * len(times),
        attributes,
    )


def recognise_openmrg(path: Path) -> bool:
    """Whether a file is of this kind."""
    if path.suffix != ".nc":
        return False
    with open_netcdf(path) as dataset:
        return VARIABLE in dataset.variables and hasattr(dataset, "proj_string")
