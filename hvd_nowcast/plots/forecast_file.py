"""A picture of a forecast file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import InputError
from hvd_nowcast.plots.maps import forecast_figure
from hvd_nowcast.plots.style import save_figure


class ForecastFields(NamedTuple):
    """What is drawn of a file.

    Attributes
    ----------
    frames
        Shape (leads, y, x), physical units, NaN where there is no value, row 0 in the north.
    start
        Forecast reference time.
    minutes
        Lead time of each frame.
    quantity
        ``rain_rate`` or ``vil``.
    spacing
        Pixel size in metres.
    """

    frames: NDArray[np.float32]
    start: np.datetime64
    minutes: list[float]
    quantity: str
    spacing: float


def plot_forecast_file(path: str | Path, folder: str | Path) -> Path:
    """Draw a forecast file of this program as a PNG of the same name.

    Parameters
    ----------
    path
        CF netCDF with one variable (time, y, x), such as ``precip_intensity``.
    folder
        Where the picture goes.

    Raises
    ------
    InputError
        When the file cannot be read or holds no such variable.
    MissingDependencyError
        When matplotlib is not installed.
    """
    fields = read_forecast(Path(path))
    return save_figure(partial(forecast_figure, *fields), Path(folder) / f"{Path(path).stem}.png")


def read_forecast(path: Path) -> ForecastFields:
    """Read the fields of a forecast file.

    Raises
    ------
    InputError
        When the file cannot be read or holds no variable (time, y, x).
    """
    from netCDF4 import Dataset

    try:
        with Dataset(str(path)) as file:
            return _fields(file, path)
    except (OSError, KeyError, AttributeError) as problem:
        raise InputError(
            path, f"not a readable forecast ({problem})", "Make it with: hvd-nowcast forecast"
        ) from problem


def _fields(file: Any, path: Path) -> ForecastFields:
    names = [name for name, variable in file.variables.items() if variable.ndim == 3]
    if not names:
        raise InputError(path, "no variable (time, y, x)", "Make it with: hvd-nowcast forecast")
    variable = file[names[0]]
    frames = np.ma.asarray(variable[:], dtype=np.float32).filled(np.nan)  # type: ignore[no-untyped-call]
    y = np.asarray(file["y"][:], dtype=np.float64)
    if len(y) > 1 and y[1] > y[0]:
        frames = frames[:, ::-1]
    times = _times(file["time"])
    start = _times(file["forecast_reference_time"])[0]
    minutes = [float((time - start) / np.timedelta64(1, "s")) / 60.0 for time in times]
    spacing = abs(y[1] - y[0]) if len(y) > 1 else 1000.0
    quantity = "vil" if names[0] == "vil" else "rain_rate"
    return ForecastFields(frames, start, minutes, quantity, float(spacing))


def _times(variable: Any) -> NDArray[np.datetime64]:
    from netCDF4 import num2date

    dates = num2date(np.ravel(variable[:]), variable.units, only_use_cftime_datetimes=False)
    stamps = [date.isoformat() for date in np.asarray(dates, dtype=object)]
    return np.array(stamps, dtype="datetime64[s]")
