"""A picture of a forecast file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import InputError
from hvd_nowcast.plots.maps import COLOUR_SCALES, forecast_figure
from hvd_nowcast.plots.style import readable_units, save_figure

EXCEEDANCE = "exceedance_probability"


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


class Chance(NamedTuple):
    """Chance of what is at or above a threshold.

    Attributes
    ----------
    percent
        Shape (leads, y, x), NaN where there is no value, row 0 in the north.
    event
        For a title, such as ``rain rate of 1 mm/h or more``.
    """

    percent: NDArray[np.float32]
    event: str


def plot_forecast_file(path: str | Path, folder: str | Path) -> list[Path]:
    """Draw a forecast file of this program as a PNG of the same name.

    Of an ensemble, ``_chance.png`` beside it shows the chance of rain.

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
    fields, chance = read_forecast(Path(path))
    stem = Path(path).stem
    pictures = [save_figure(partial(forecast_figure, *fields), Path(folder) / f"{stem}.png")]
    if chance is not None:
        shown = fields._replace(frames=chance.percent, quantity="chance")
        draw = partial(forecast_figure, *shown, title=f"Chance of {chance.event}, forecast")
        pictures.append(save_figure(draw, Path(folder) / f"{stem}_chance.png"))
    return pictures


def read_forecast(path: Path) -> tuple[ForecastFields, Chance | None]:
    """Read the fields of a forecast file, and of an ensemble the chance of its second threshold.

    Raises
    ------
    InputError
        When the file cannot be read or holds no variable (time, y, x).
    """
    from netCDF4 import Dataset

    try:
        with Dataset(str(path)) as file:
            fields = _fields(file, path)
            chance = _chance(file, fields.quantity) if EXCEEDANCE in file.variables else None
            return fields, chance
    except (OSError, KeyError, AttributeError) as problem:
        raise InputError(
            path, f"not a readable forecast ({problem})", "Make it with: hvd-nowcast forecast"
        ) from problem


def _fields(file: Any, path: Path) -> ForecastFields:
    names = [name for name, variable in file.variables.items() if variable.ndim == 3]
    if not names:
        raise InputError(path, "no variable (time, y, x)", "Make it with: hvd-nowcast forecast")
    y = np.asarray(file["y"][:], dtype=np.float64)
    times = _times(file["time"])
    start = _times(file["forecast_reference_time"])[0]
    minutes = [float((time - start) / np.timedelta64(1, "s")) / 60.0 for time in times]
    spacing = abs(y[1] - y[0]) if len(y) > 1 else 1000.0
    quantity = "vil" if names[0] == "vil" else "rain_rate"
    frames = _north_up(file, file[names[0]][:])
    return ForecastFields(frames, start, minutes, quantity, float(spacing))


def _chance(file: Any, quantity: str) -> Chance:
    place = min(1, len(file["threshold"]) - 1)
    limit, scale = float(file["threshold"][place]), COLOUR_SCALES[quantity]
    event = f"{scale.name} of {limit:g} {readable_units(scale.units)}".rstrip() + " or more"
    return Chance(100.0 * _north_up(file, file[EXCEEDANCE][place]), event)


def _north_up(file: Any, stored: Any) -> NDArray[np.float32]:
    """Values (leads, y, x), NaN where there are none, row 0 in the north."""
    frames = np.ma.asarray(stored, dtype=np.float32).filled(np.nan)  # type: ignore[no-untyped-call]
    y = file["y"]
    return frames[:, ::-1] if len(y) > 1 and y[1] > y[0] else frames


def _times(variable: Any) -> NDArray[np.datetime64]:
    from netCDF4 import num2date

    dates = num2date(np.ravel(variable[:]), variable.units, only_use_cftime_datetimes=False)
    stamps = [date.isoformat() for date in np.asarray(dates, dtype=object)]
    return np.array(stamps, dtype="datetime64[s]")
