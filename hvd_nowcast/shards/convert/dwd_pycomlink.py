"""The DWD radar sample inside the PyPI wheel ``pycomlink``: RADOLAN-YW, 5 minutes, 1 km.

Amounts of 0.01 mm in 5 minutes become rain rates of 0.12 mm h-1 a count, without loss. Rows run
northward in the file. Its latitudes and longitudes were shifted by the publisher, so the grid
holds distances from the lower-left corner.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import Grid
from hvd_nowcast.shards.convert.netcdf import open_netcdf, read_frame, read_times, require_field
from hvd_nowcast.shards.convert.source import Field, FrameSource, Options, sequences_of
from hvd_nowcast.shards.schema import Packing

VARIABLE = "rainfall_amount"
AMOUNT_TO_RATE = 12.0
PIXEL_METRES = 1000.0


def open_dwd_pycomlink(paths: Sequence[Path], options: Options) -> FrameSource:
    """Open the one file of this kind.

    Raises
    ------
    InputError
        When it is not that file.
    """
    path = paths[0]
    dataset = open_netcdf(path)
    if not {VARIABLE, "time"} <= set(dataset.variables) or len(paths) > 1:
        raise InputError(
            path,
            f"expected one file with the variables {VARIABLE} and time",
            "It lies in the wheel at pycomlink/io/example_data/example_areal_reference_data.nc",
        )
    variable = dataset[VARIABLE]
    require_field(path, variable)
    frames, rows, columns = variable.shape
    times = read_times(path, dataset["time"], frames, round_to_seconds=60)
    files = [path] * frames

    def read(number: int) -> Field:
        amount = read_frame(path, variable, number, np.float64)[::-1]
        return np.where(amount < 0, np.nan, amount * AMOUNT_TO_RATE).astype(np.float32)

    grid = Grid(
        (np.arange(columns) + 0.5) * PIXEL_METRES, (rows - np.arange(rows) - 0.5) * PIXEL_METRES
    )
    attributes = {
        "title": "DWD RADOLAN-YW 5-minute rain rate",
        "institution": "Deutscher Wetterdienst (DWD)",
        "license": "GeoNutzV with source notice; package pycomlink: BSD-3-Clause",
        "source": "pycomlink example_areal_reference_data.nc",
        "comment": "x and y are distances from the lower-left corner; the place was withheld",
    }
    packing = Packing("uint16", 0.12, 0.0, 65535)
    return FrameSource(
        "rain_rate",
        packing,
        grid,
        times,
        sequences_of(times, files),
        read,
        files,
        attributes,
    )


def recognise_dwd_pycomlink(path: Path) -> bool:
    """Whether a file is the sample of the wheel."""
    if path.suffix != ".nc":
        return False
    with open_netcdf(path) as dataset:
        return VARIABLE in dataset.variables and getattr(dataset, "producttype", "") == "YW"
