"""Discharge: observed and forecast in time, and efficiency against lead time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.plots.style import FAINT, label_line_ends, line_style, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAUGES = 3
SHOWN_STEPS = 200


def save_flood_figures(scores: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw ``hydrographs.png`` and ``scores.png`` of `flood_scores`.

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.
    OutputError
        When a file cannot be written.
    """
    drawings = {"hydrographs": hydrograph_figure, "scores": efficiency_figure}
    return [save_figure(partial(d, scores), folder / f"{n}.png") for n, d in drawings.items()]


def efficiency_figure(scores: Mapping[str, Any]) -> Figure:
    """NSE and KGE against lead time, the median of all gauges."""
    figure = new_figure(8.5, 3.2)
    hours = [minutes / 60 for minutes in scores["lead_minutes"]]
    for axes, metric in zip(figure.subplots(1, 2), ("nse", "kge"), strict=True):
        ends = {}
        for source, table in scores["scores"].items():
            values = np.array(table[metric]["median"], float)
            axes.plot(hours, values, **line_style(source))
            ends[source] = values[-1]
        axes.set_title(f"{metric.upper()}, median of {len(scores['gauges'])} gauges")
        axes.set_xlabel("lead time (h)")
        label_line_ends(axes, ends, hours[-1])
    return figure


def hydrograph_figure(scores: Mapping[str, Any]) -> Figure:
    """The time around the highest peak at the gauges with the largest areas, longest lead time."""
    chosen = np.argsort(scores["area_km2"])[::-1][:GAUGES]
    figure = new_figure(9.5, 2.6 * len(chosen) + 0.3)
    observed = _series(scores, "observed")
    lead = observed.shape[2] - 1
    for axes, gauge in zip(
        figure.subplots(len(chosen), 1, squeeze=False)[:, 0], chosen, strict=True
    ):
        part = _around_peak(observed[:, gauge, lead])
        _draw(axes, scores, int(gauge), lead, part)
        name, area = scores["gauges"][gauge], scores["area_km2"][gauge]
        axes.set_title(f"{name}, {area:,.0f} km²")
        axes.set_ylabel("discharge (m³/s)")
    hours = scores["lead_minutes"][lead] / 60
    figure.suptitle(f"forecast {hours:g} h ahead", x=0.01, ha="left", fontsize=8.5, color=FAINT)
    return figure


def _draw(axes: Axes, scores: Mapping[str, Any], gauge: int, lead: int, part: slice) -> None:
    step = np.timedelta64(int(60 * scores["lead_minutes"][0]), "s")
    times = np.array(scores["starts"], "datetime64[s]")[part] + (lead + 1) * step
    if len(scores["quantiles"]) > 1:
        low, high = (_series(scores, name)[part, gauge, lead] for name in ("low", "high"))
        axes.fill_between(times, low, high, color="#0072B2", alpha=0.18, linewidth=0)
    for source in ("observed", *scores["scores"]):
        if source == "persistence":
            continue
        axes.plot(
            times, _series(scores, source)[part, gauge, lead], **line_style(source), label=source
        )
    axes.legend(frameon=False, fontsize=8, ncols=4)


def _around_peak(observed: NDArray[np.float64]) -> slice:
    peak = int(np.nanargmax(observed)) if np.isfinite(observed).any() else 0
    start = max(0, min(peak - SHOWN_STEPS // 2, len(observed) - SHOWN_STEPS))
    return slice(start, start + SHOWN_STEPS)


def _series(scores: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    return np.array(scores["series"][name], float)
