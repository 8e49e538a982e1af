"""A discharge forecast: rain above, discharge below, past and ahead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hvd_nowcast.hydrology.discharge import DischargeForecast
from hvd_nowcast.plots.style import (
    FAINT,
    SOURCE_STYLES,
    import_matplotlib,
    line_style,
    new_figure,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAUGES = 3


def save_flood_forecast(forecast: DischargeForecast, folder: Path) -> Path:
    """Draw ``discharge.png``: the gauges that carry most water.

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.
    OutputError
        When the file cannot be written.
    """
    return save_figure(lambda: flood_forecast_figure(forecast), folder / "discharge.png")


def flood_forecast_figure(forecast: DischargeForecast) -> Figure:
    """Rain and discharge of up to three gauges."""
    flow = np.nan_to_num(forecast.median.max(0), nan=-1.0)
    chosen = np.argsort(flow)[::-1][:GAUGES]
    figure = new_figure(8.5, 2.9 * len(chosen) + 0.3)
    rows = figure.subplots(
        2 * len(chosen), 1, sharex=True, squeeze=False, height_ratios=[1, 3] * len(chosen)
    )[:, 0]
    for number, gauge in enumerate(chosen):
        _draw_rain(rows[2 * number], forecast, int(gauge))
        _draw_discharge(rows[2 * number + 1], forecast, int(gauge))
    dates = import_matplotlib("dates")
    locator = dates.AutoDateLocator(maxticks=8, interval_multiples=False)
    rows[-1].xaxis.set_major_locator(locator)
    daily = forecast.times[1] - forecast.times[0] >= np.timedelta64(1, "D")
    rows[-1].xaxis.set_major_formatter(dates.DateFormatter("%d %b" if daily else "%d %b %H:%M"))
    figure.suptitle(
        f"forecast of {str(forecast.reference_time).replace('T', ' ')} UTC",
        x=0.01, ha="left", fontsize=8.5, color=FAINT,
    )  # fmt: skip
    return figure


def _draw_rain(axes: Axes, forecast: DischargeForecast, gauge: int) -> None:
    width = 0.9 * (forecast.times[1] - forecast.times[0])
    ahead = np.arange(len(forecast.times)) >= forecast.steps_in
    for part, colour in ((~ahead, "#56B4E9"), (ahead, SOURCE_STYLES["model"].colour)):
        rain = forecast.rain[part, gauge]
        axes.bar(forecast.times[part], rain, width, align="edge", color=colour)
    axes.invert_yaxis()
    axes.set_ylabel("rain\n(mm/h)")
    axes.set_title(str(forecast.gauges[gauge]))


def _draw_discharge(axes: Axes, forecast: DischargeForecast, gauge: int) -> None:
    past, ahead = forecast.times[: forecast.steps_in], forecast.times[forecast.steps_in :]
    axes.plot(past, forecast.observed[:, gauge], **line_style("observed"), label="observed")
    if len(forecast.quantiles) > 1:
        low, high = forecast.discharge[:, gauge, 0], forecast.discharge[:, gauge, -1]
        text = f"{forecast.quantiles[0]:.0%} to {forecast.quantiles[-1]:.0%}"
        colour = SOURCE_STYLES["model"].colour
        axes.fill_between(ahead, low, high, color=colour, alpha=0.18, linewidth=0, label=text)
    style = {**line_style("model"), "marker": "o", "markersize": 4}
    axes.plot(ahead, forecast.median[:, gauge], **style, label="forecast")
    axes.axvline(forecast.reference_time, color=FAINT, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_ylabel("discharge (m³/s)")
    axes.legend(frameon=False, fontsize=8, ncols=3)
