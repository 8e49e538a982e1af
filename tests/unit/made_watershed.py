"""A small watershed for tests: a valley of 6 x 5 cells whose discharge follows its rain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np

ROWS, COLUMNS, STEPS = 6, 5, 120
Edit = Callable[[netCDF4.Dataset], None]


def directions() -> np.ndarray:
    """All rows run to the middle column, and that one runs south."""
    codes = np.zeros((ROWS, COLUMNS), np.uint8)
    codes[:, :2], codes[:, 3:], codes[:, 2] = 1, 16, 4
    codes[-1, 2] = 0
    return codes


def make_rain(steps: int = STEPS, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    storms = generator.gamma(0.3, 6.0, (steps, 1, 1))
    return np.round(storms * generator.random((steps, ROWS, COLUMNS)), 2)


def make_discharge(rain: np.ndarray) -> np.ndarray:
    """A linear reservoir that rain reaches after a step for every three rows."""
    flow, store = [], 5.0
    for step in range(len(rain)):
        late = [rain[max(0, step - (ROWS - 1 - row) // 3), row].mean() for row in range(ROWS)]
        store = 0.8 * store + float(np.mean(late))
        flow.append(store)
    return np.array(flow)


def write_watershed_file(path: Path, edit: Edit | None = None, hours: int = 24) -> Path:
    """A file as users have it; ``edit`` spoils it."""
    rain = make_rain()
    with netCDF4.Dataset(path, "w") as dataset:
        for name, size in (("time", STEPS), ("y", ROWS), ("x", COLUMNS)):
            dataset.createDimension(name, size)
        time = dataset.createVariable("time", "f8", ("time",))
        time.units = "hours since 2000-01-01"
        time[:] = hours * np.arange(STEPS)
        for name, values in (
            ("y", 1000.0 * np.arange(ROWS)[::-1]),
            ("x", 1000.0 * np.arange(COLUMNS)),
        ):
            axis = dataset.createVariable(name, "f8", (name,))
            axis.units = "m"
            axis[:] = values
        field = dataset.createVariable("precipitation", "f4", ("time", "y", "x"), fill_value=-1.0)
        field.units = "mm"
        field[:] = rain
        dataset.createVariable("flow_direction", "u1", ("y", "x"))[:] = directions()
        discharge = dataset.createVariable("discharge", "f4", ("time",), fill_value=-9.0)
        discharge.units = "m3 s-1"
        discharge[:] = make_discharge(rain)
        dataset.setncatts({"outlet_row": ROWS - 1, "outlet_col": 2})
        if edit is not None:
            edit(dataset)
    return path
