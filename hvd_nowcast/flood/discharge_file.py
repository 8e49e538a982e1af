"""A discharge forecast as CF netCDF time series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from hvd_nowcast import __version__
from hvd_nowcast.hydrology.discharge import DischargeForecast
from hvd_nowcast.shards.writer import atomic_output, netcdf_output

STANDARD_NAME = "water_volume_transport_in_river_channel"


def write_discharge(out: Path, forecast: DischargeForecast) -> None:
    """Write a forecast as CF netCDF time series, one per gauge.

    Raises
    ------
    OutputError
        When it cannot be written; nothing is left under its name then.
    """
    with atomic_output(out) as aside, netcdf_output(aside) as dataset:
        dataset.setncatts(
            {
                "Conventions": "CF-1.8",
                "featureType": "timeSeries",
                "title": "Discharge forecast",
                "source": f"hvd_nowcast {__version__}, weights {forecast.fingerprint[:16]}",
            }
        )
        _write_axes(dataset, forecast)
        of_gauge = ("time", "gauge")
        gauge = {"coordinates": "gauge_name forecast_reference_time"}
        discharge = {"units": "m3 s-1", "standard_name": STANDARD_NAME, **gauge}
        _write(dataset, "discharge", of_gauge, forecast.median, "forecast discharge", discharge)
        if len(forecast.quantiles) > 1:
            dimensions = ("quantile", "time", "gauge")
            levels = forecast.discharge.transpose(2, 0, 1)
            _write(dataset, "discharge_quantile", dimensions, levels, "its quantiles", discharge)
        ahead = forecast.rain[forecast.steps_in :]
        text = "rain rate that was taken, mean over the area of the gauge"
        _write(dataset, "rain_rate", of_gauge, ahead, text, {"units": "mm h-1", **gauge})
        text = "how much of the rain of a step was known"
        _write(dataset, "rain_known", ("time",), forecast.rain_hours, text, {"units": "h"})


def _write_axes(dataset: netCDF4.Dataset, forecast: DischargeForecast) -> None:
    lead_times = forecast.times[forecast.steps_in :]
    epoch = {"units": "seconds since 1970-01-01 00:00:00", "calendar": "standard"}
    dataset.createDimension("time", len(lead_times))
    dataset.createDimension("gauge", len(forecast.gauges))
    dataset.createDimension("quantile", len(forecast.quantiles))
    seconds = lead_times.astype("datetime64[s]").astype(np.int64)
    time = {"standard_name": "time", "axis": "T", **epoch}
    _write(dataset, "time", ("time",), seconds, "begin of the step", time)
    reference = np.array(forecast.reference_time.astype("datetime64[s]").astype(np.int64))
    text = "newest step with a known discharge"
    names = {"standard_name": "forecast_reference_time", **epoch}
    _write(dataset, "forecast_reference_time", (), reference, text, names)
    _write(
        dataset, "quantile", ("quantile",), np.array(forecast.quantiles), "level", {"units": "1"}
    )
    name = dataset.createVariable("gauge_name", str, ("gauge",))
    name.setncatts({"cf_role": "timeseries_id", "long_name": "gauge"})
    name[:] = np.array(forecast.gauges, object)


def _write(
    dataset: netCDF4.Dataset,
    name: str,
    dimensions: tuple[str, ...],
    values: NDArray[Any],
    text: str,
    attributes: dict[str, str],
) -> None:
    variable = dataset.createVariable(name, "f8", dimensions, fill_value=np.nan)
    variable.setncatts({"long_name": text, **attributes})
    variable[:] = values
