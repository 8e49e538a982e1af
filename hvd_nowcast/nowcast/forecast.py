"""From a trained run and the newest radar files to a CF netCDF forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from hvd_nowcast import __version__, console
from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import Grid
from hvd_nowcast.nowcast.model import EnsembleModel, NowcastModel, draw_members, middle_member
from hvd_nowcast.nowcast.spacing import at_spacing
from hvd_nowcast.plots.forecast_file import EXCEEDANCE
from hvd_nowcast.reference_time import parse_reference_time
from hvd_nowcast.shards.convert import open_source
from hvd_nowcast.shards.convert.source import FrameSource, checked
from hvd_nowcast.shards.schema import QUANTITIES
from hvd_nowcast.shards.writer import atomic_output, netcdf_output, write_grid
from hvd_nowcast.verification.ensemble import MEMBERS
from hvd_nowcast.verification.windows import at_multiples

Array = NDArray[np.float32]

# Names that pySTEPS' own reader looks for; other quantities keep theirs.
VARIABLE_NAMES = {"rain_rate": "precip_intensity"}
FILL = np.float32(-9999.0)


@dataclass(frozen=True)
class ForecastSummary:
    """What was written.

    Attributes
    ----------
    path
        The file.
    reference_time
        Time of the newest frame used.
    leads, lead_minutes
        Number of forecast frames, and lead time of the last.
    largest
        Largest forecast value.
    units
        Its unit.
    """

    path: Path
    reference_time: np.datetime64
    leads: int
    lead_minutes: float
    largest: float
    units: str

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.path}: {self.leads} frames to {self.lead_minutes:g} minutes after "
            f"{self.reference_time} UTC, up to {self.largest:.1f} {self.units}"
        )


def make_forecast(
    predictor: NowcastModel,
    paths: Sequence[Path],
    out: Path,
    format: str | None = None,
    variable: str | None = None,
    relation: str | None = None,
    reference_time: str | None = None,
    fill: bool = False,
    members: int = MEMBERS,
) -> ForecastSummary:
    """Forecast from the newest frames of some files and write a CF netCDF file.

    Parameters
    ----------
    predictor
        The model.
    paths
        Radar files of one format.
    out
        The file to write.
    format, variable, relation
        See `hvd_nowcast.shards.convert.open_source`.
    reference_time
        ISO time of the newest frame to use; the newest of the files when None.
    fill
        Take the mean of its neighbours for a frame that is missing between two; the file says
        which were.
    members
        Of a model of ensembles: how many are drawn and written, with the share of them at or above
        each threshold. The forecast itself is their median.

    Raises
    ------
    InputError
        When the files do not give the frames the model needs.
    OutputError
        When the forecast cannot be written; nothing is left under its name then.
    """
    source = open_source(paths, format=format, variable=variable, relation=relation)
    fitted = fit_to(predictor, source)
    return forecast_from(fitted, source, out, reference_time, fill, members)


def forecast_from(
    predictor: NowcastModel,
    source: FrameSource,
    out: Path,
    reference_time: str | None = None,
    fill: bool = False,
    members: int = MEMBERS,
) -> ForecastSummary:
    """Forecast from some frames of an open source and write a CF netCDF file.

    Parameters
    ----------
    predictor
        The model, as `fit_to` gives it.
    source
        The frames.
    out, reference_time, fill, members
        See `make_forecast`.

    Raises
    ------
    InputError, OutputError
        See `make_forecast`.
    """
    chosen = choose_frames(predictor, source, reference_time, fill)
    frames = np.stack([np.mean([_frame(source, n) for n in one], 0) for one in chosen])
    drawn: Array | None = None
    if isinstance(predictor, EnsembleModel):
        drawn = draw_members(predictor, frames, members)
        forecast = middle_member(drawn)
    else:
        forecast = predictor.forecast(frames)
    # Where the newest frame saw nothing, nobody could verify a forecast.
    for fields in (forecast, *(() if drawn is None else drawn)):
        fields[:, np.isnan(frames[-1])] = np.nan
    (newest,) = chosen[-1]
    start = source.times[newest]
    step = np.timedelta64(predictor.step_seconds, "s")
    filled = [start - step * back for back, one in enumerate(chosen[::-1]) if len(one) > 1]
    write_forecast(out, forecast, start, predictor, source, filled, drawn)
    units = QUANTITIES[source.quantity].units
    largest = float(np.nanmax(forecast)) if np.isfinite(forecast).any() else 0.0
    minutes = len(forecast) * predictor.step_seconds / 60
    return ForecastSummary(out, start, len(forecast), minutes, largest, units)


def choose_frames(
    predictor: NowcastModel, source: FrameSource, reference_time: str | None, fill: bool = False
) -> list[tuple[int, ...]]:
    """Numbers of the frames the model is given, oldest first.

    Each is one number, or, with ``fill``, those of its two neighbours where it is missing.

    Raises
    ------
    ConfigError
        When the reference time cannot be read.
    InputError
        When frames are missing, with their times.
    """
    newest = source.times.max()
    if reference_time is not None:
        newest = parse_reference_time(reference_time)
    step = np.timedelta64(predictor.step_seconds, "s")
    wanted = newest - step * np.arange(predictor.frames_in - 1, -1, -1)
    numbers = {time: number for number, time in enumerate(source.times)}
    chosen = [_numbers_for(time, step, numbers, fill and time != newest) for time in wanted]
    missing = [str(time) for time, found in zip(wanted, chosen, strict=True) if not found]
    if missing:
        raise InputError(
            source.files[-1],
            f"the model needs {predictor.frames_in} frames up to {newest}, one every "
            f"{predictor.step_seconds} s, but these are missing: {', '.join(missing)}",
            f"The files hold {source.times.min()} to {source.times.max()}: give more files, or "
            "another --time",
        )
    return chosen


def _numbers_for(
    time: np.datetime64, step: np.timedelta64, numbers: Mapping[np.datetime64, int], fill: bool
) -> tuple[int, ...]:
    """Number of a frame, or those of its neighbours; empty where it cannot be had."""
    if time in numbers:
        return (numbers[time],)
    beside = (time - step, time + step)
    if fill and all(other in numbers for other in beside):
        return tuple(numbers[other] for other in beside)
    return ()


def possible_starts(
    predictor: NowcastModel, source: FrameSource, every_minutes: int
) -> list[np.datetime64]:
    """Times at multiples of some minutes of the day for which all frames are there.

    Raises
    ------
    ConfigError
        When the number of minutes is not positive.
    """
    step = np.timedelta64(predictor.step_seconds, "s")
    back = step * np.arange(predictor.frames_in)
    times = np.unique(source.times)
    step_seconds = min(predictor.step_seconds, source.step_seconds)
    chosen = times[at_multiples(times, every_minutes, step_seconds)]
    return [time for time in chosen if np.isin(time - back, times).all()]


def write_forecast(
    out: Path,
    forecast: Array,
    start: np.datetime64,
    predictor: NowcastModel,
    source: FrameSource,
    filled: Sequence[np.datetime64] = (),
    members: Array | None = None,
) -> None:
    """Write a forecast as CF netCDF that pySTEPS reads back.

    Parameters
    ----------
    out
        The file.
    forecast
        Physical values, NaN where there is none, shape ``(leads, y, x)``.
    start
        Forecast reference time.
    predictor
        The model, for lead times and origin.
    source
        The input, for grid and origin.
    filled
        Times of input frames that were missing.
    members
        Of an ensemble, shape ``(members, leads, y, x)``.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    with atomic_output(out) as aside, netcdf_output(aside) as dataset:
        dataset.setncatts(_global_attributes(predictor, source))
        if len(filled):
            dataset.filled_frames = " ".join(map(str, filled))
        _write_times(dataset, start, predictor.step_seconds, len(forecast))
        write_grid(dataset, with_cf_projection(source.grid), "polar_stereographic")
        _write_field(dataset, forecast, source.quantity)
        if members is not None:
            _write_ensemble(dataset, members, source.quantity)


def with_cf_projection(grid: Grid) -> Grid:
    """The grid with CF attributes of its projection, where they can be told.

    Files often carry a PROJ string alone; a polar stereographic one is spelled out for CF and
    pySTEPS. A grid without a projection is left as plain distances.
    """
    wanted = {"straight_vertical_longitude_from_pole", "latitude_of_projection_origin"}
    text = str(grid.projection.get("proj4", ""))
    if wanted <= set(grid.projection) or "+proj=stere" not in text:
        return grid
    terms = dict(term.lstrip("+").partition("=")[::2] for term in text.split())
    number = {name: float(value) for name, value in terms.items() if _is_number(value)}
    projection: dict[str, Any] = {
        "grid_mapping_name": "polar_stereographic",
        "straight_vertical_longitude_from_pole": number.get("lon_0", 0.0),
        "latitude_of_projection_origin": number.get("lat_0", 90.0),
        "standard_parallel": number.get("lat_ts", 90.0),
        "false_easting": number.get("x_0", 0.0),
        "false_northing": number.get("y_0", 0.0),
        "proj4": text,
    }
    if "a" in number and "b" in number:
        projection["semi_major_axis"], projection["semi_minor_axis"] = number["a"], number["b"]
    return Grid(grid.x, grid.y, projection)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _frame(source: FrameSource, number: int) -> Array:
    return checked(source.read(number), source.quantity, source.files[number])[0]


def fit_to(predictor: NowcastModel, source: FrameSource) -> NowcastModel:
    """The model for the frames of a source; pixels of another size are resampled there and back.

    Raises
    ------
    InputError
        When the model was trained on another quantity.
    """
    if source.quantity != predictor.quantity:
        raise InputError(
            source.files[0],
            f"holds {source.quantity}, but the model was trained on {predictor.quantity}",
            "Use a model of the same quantity",
        )
    fitted = at_spacing(predictor, source.grid.spacing)
    if fitted is not predictor:
        ours, theirs = predictor.grid_spacing, source.grid.spacing
        console.note(
            f"pixels of {theirs:.0f} m are resampled to {ours:.0f} m, which the model was trained "
            "on, and its forecast back"
        )
    return fitted


def _write_times(dataset: netCDF4.Dataset, start: np.datetime64, step: int, leads: int) -> None:
    stamp = str(start.astype("datetime64[s]")).replace("T", " ")
    dataset.createDimension("time", leads)
    time = dataset.createVariable("time", "f8", ("time",))
    time.setncatts(
        {
            "standard_name": "time",
            "long_name": "time the forecast is for",
            # pySTEPS takes these numbers, in seconds, as the lead times.
            "units": f"seconds since {stamp}",
            "calendar": "standard",
            "axis": "T",
        }
    )
    time[:] = step * np.arange(1, leads + 1)
    reference = dataset.createVariable("forecast_reference_time", "f8")
    reference.setncatts(
        {
            "standard_name": "forecast_reference_time",
            "long_name": "time of the newest frame",
            "units": "seconds since 1970-01-01 00:00:00",
            "calendar": "standard",
        }
    )
    reference[:] = float(start.astype("datetime64[s]").astype(np.int64))
    lead = dataset.createVariable("leadtime", "f8", ("time",))
    lead.setncatts(
        {"standard_name": "forecast_period", "long_name": "lead time", "units": "minutes"}
    )
    lead[:] = step * np.arange(1, leads + 1) / 60.0


def _write_field(dataset: netCDF4.Dataset, forecast: Array, quantity_name: str) -> None:
    quantity = QUANTITIES[quantity_name]
    name = VARIABLE_NAMES.get(quantity_name, quantity_name)
    variable = _create_fields(dataset, name, forecast)
    attributes = {
        "long_name": f"forecast {quantity.long_name}",
        "units": quantity.units,
        "coordinates": "forecast_reference_time leadtime",
    }
    if quantity.standard_name:
        attributes["standard_name"] = quantity.standard_name
    if "polar_stereographic" in dataset.variables:
        attributes["grid_mapping"] = "polar_stereographic"
    variable.setncatts(attributes)


def _write_ensemble(dataset: netCDF4.Dataset, members: Array, quantity_name: str) -> None:
    quantity = QUANTITIES[quantity_name]
    name = VARIABLE_NAMES.get(quantity_name, quantity_name)
    dataset.createDimension("realization", len(members))
    dataset.createVariable("realization", "i4", ("realization",)).standard_name = "realization"
    dataset["realization"][:] = np.arange(len(members))
    drawn = _create_fields(dataset, f"{name}_members", members, "realization")
    drawn.long_name = f"forecast {quantity.long_name}, members of an ensemble"
    drawn.units = quantity.units
    dataset.createDimension("threshold", len(quantity.thresholds))
    limits = dataset.createVariable("threshold", "f4", ("threshold",))
    limits.setncatts({"long_name": f"lower limit of {quantity.long_name}", "units": quantity.units})
    limits[:] = quantity.thresholds
    shares = np.stack([_share_above(members, threshold) for threshold in quantity.thresholds])
    chance = _create_fields(dataset, EXCEEDANCE, shares, "threshold")
    chance.long_name = f"share of members with {quantity.long_name} at or above the threshold"
    chance.units = "1"


def _share_above(members: Array, threshold: float) -> Array:
    share = (members >= threshold).mean(0, dtype=np.float32)
    return np.where(np.isnan(members[0]), np.nan, share)


def _create_fields(
    dataset: netCDF4.Dataset, name: str, fields: Array, *before: str
) -> netCDF4.Variable[Any]:
    variable = dataset.createVariable(
        name,
        "f4",
        (*before, "time", "y", "x"),
        compression="zlib",
        complevel=4,
        shuffle=True,
        fill_value=FILL,
        chunksizes=(1,) * (fields.ndim - 2) + fields.shape[-2:],
    )
    variable[:] = np.where(np.isnan(fields), FILL, fields)
    return variable


def _global_attributes(predictor: NowcastModel, source: FrameSource) -> dict[str, Any]:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {k: v for k, v in source.attributes.items() if k in ("institution", "license")}
    return {
        "Conventions": "CF-1.7",
        "title": "Precipitation nowcast",
        "institution": about.pop("institution", "unknown"),
        "source": f"hvd_nowcast {__version__}, weights {predictor.fingerprint[:16]}",
        "history": f"{now} made by hvd-nowcast forecast",
        "references": "U-Net nowcast of radar frames; see the run folder of the weights",
        "comment": f"input: {source.attributes.get('title', 'radar frames')}",
        **about,
    }
