"""Scores against lead time, and the performance diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hvd_nowcast.plots.style import (
    FAINT,
    SOURCE_STYLES,
    label_line_ends,
    line_style,
    new_figure,
    readable_units,
    with_units,
)
from hvd_nowcast.verification.scores import SHOWN_FSS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
MARKED_MINUTES = (10, 30, 60)
CSI_LEVELS = tuple(round(0.1 * level, 1) for level in range(1, 10))
BIASES = (0.5, 0.8, 1.0, 1.25, 2.0)


def scores_figure(scores: Mapping[str, Any]) -> Figure:
    """CSI at each threshold, one FSS, and MAE against lead time, one line per source.

    Parameters
    ----------
    scores
        `Evaluation.to_json()`.
    """
    panels = _panels(scores)
    rows = -(-len(panels) // COLUMNS)
    figure = new_figure(10.5, 2.7 * rows + 0.35)
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, (title, metric, key) in zip(grid, panels, strict=False):
        _draw_score(axes, scores, metric, key)
        axes.set_title(title)
    for axes in grid[len(panels) :]:
        axes.remove()
    for axes in grid[max(0, len(panels) - COLUMNS) : len(panels)]:
        axes.set_xlabel("lead time (min)")
    figure.suptitle(_caption(scores), x=0.01, ha="left", fontsize=8.5, color=FAINT)
    return figure


def _panels(scores: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    units = readable_units(scores["units"])
    limits = [f"≥ {threshold:g} {units}".rstrip() for threshold in scores["thresholds"]]
    keys = [str(threshold) for threshold in scores["thresholds"]]
    panels = [(f"CSI {limit}", "csi", key) for limit, key in zip(limits, keys, strict=True)]
    middle = min(1, len(keys) - 1)
    panels.append((f"FSS {limits[middle]}, 5 km window", "fss", f"{keys[middle]}@{SHOWN_FSS}"))
    panels.append((with_units("MAE", scores["units"]) + ", less is better", "mae", "all"))
    return panels


def _caption(scores: Mapping[str, Any]) -> str:
    starts = scores["starts"]
    return (
        f"{starts} forecasts of the {scores['split']} split, pooled; higher is better but for MAE"
    )


def _draw_score(axes: Axes, scores: Mapping[str, Any], metric: str, key: str) -> None:
    minutes = scores["lead_minutes"]
    ends = {}
    for source, table in scores["scores"].items():
        values = _numbers(table[metric][key])
        axes.plot(minutes, values, **line_style(source))
        if np.isfinite(values).any():
            ends[source] = float(values[np.isfinite(values)][-1])
    axes.set_ylim(0, max(0.05 if metric != "mae" else 0.0, axes.get_ylim()[1]))
    finish_lead_axis(axes, minutes, ends)
    if not ends:
        axes.text(0.5, 0.5, "no event", transform=axes.transAxes, ha="center", color=FAINT)


def finish_lead_axis(axes: Axes, minutes: Sequence[float], ends: dict[str, float]) -> None:
    """Lead times on the axis below, and the name of each source at the end of its line.

    Parameters
    ----------
    axes
        With its lines, and the limits of its height.
    minutes
        Lead times.
    ends
        Source -> height of the end of its line.
    """
    span = minutes[-1] - min(0, minutes[0])
    axes.set_xlim(0, minutes[-1] + 0.42 * span)
    axes.set_xticks(_ticks(minutes))
    axes.spines["bottom"].set_bounds(0, minutes[-1])
    label_line_ends(axes, ends, minutes[-1])


def _ticks(minutes: Sequence[float]) -> list[float]:
    """At most seven lead times on the axis."""
    step = next((s for s in (5, 10, 15, 30, 60, 120) if minutes[-1] / s <= 6), 240)
    return [float(tick) for tick in np.arange(0, minutes[-1] + 1e-9, step)]


def performance_figure(scores: Mapping[str, Any]) -> Figure:
    """POD against success ratio with lines of equal CSI and bias (Roebber 2009).

    One panel for each of the two middle thresholds, one point per lead time. Reference:
    doi:10.1175/2008WAF2222159.1.

    Parameters
    ----------
    scores
        `Evaluation.to_json()`.
    """
    thresholds = scores["thresholds"][1:3] or scores["thresholds"]
    figure = new_figure(4.9 * len(thresholds) + 0.3, 4.9)
    panels = figure.subplots(1, len(thresholds), squeeze=False)[0]
    for axes, threshold in zip(panels, thresholds, strict=True):
        _draw_background(axes)
        for source, table in scores["scores"].items():
            _draw_performance(axes, source, table, str(threshold), scores["lead_minutes"])
        axes.set_title(f"≥ {threshold:g} {readable_units(scores['units'])}".rstrip())
        axes.set_xlabel("success ratio (1 − FAR)")
    panels[0].set_ylabel("probability of detection")
    _performance_legend(panels[0], list(scores["scores"]))
    return figure


def _draw_background(axes: Axes) -> None:
    success, detection = np.meshgrid(np.linspace(0.01, 1, 200), np.linspace(0.01, 1, 200))
    csi = 1.0 / (1.0 / success + 1.0 / detection - 1.0)
    lines = axes.contour(
        success, detection, csi, CSI_LEVELS, colors="#c4c4c4", linewidths=0.8, zorder=0
    )
    # Labels near the right edge, where forecasts seldom are.
    places = [(0.94, 1.0 / (1.0 / level - 1.0 / 0.94 + 1.0)) for level in CSI_LEVELS[:-1]]
    axes.clabel(lines, fmt="CSI %.1f", fontsize=7, manual=places, colors=FAINT)
    for bias in BIASES:
        end = (1.0, bias) if bias <= 1 else (1.0 / bias, 1.0)
        axes.plot((0, end[0]), (0, end[1]), ":", color="#b0b0b0", linewidth=0.8, zorder=0)
        axes.annotate(
            f"bias {bias:g}" if bias == 1 else f"{bias:g}",
            end,
            xytext=(3, 0) if bias <= 1 else (0, 3),
            textcoords="offset points",
            va="center" if bias <= 1 else "bottom",
            ha="left" if bias <= 1 else "center",
            fontsize=7.5,
            color=FAINT,
            annotation_clip=False,
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.grid(visible=False)


def _draw_performance(
    axes: Axes,
    source: str,
    table: Mapping[str, Mapping[str, Sequence[float | None]]],
    threshold: str,
    minutes: Sequence[float],
) -> None:
    success = _numbers(table["sucr"][threshold])
    detection = _numbers(table["pod"][threshold])
    style = SOURCE_STYLES[source]
    line = line_style(source) | {"linewidth": 0.6 * style.width}
    line |= {"marker": style.marker, "markersize": min(4.5, 3.0 * style.width)}
    axes.plot(success, detection, **line, mec="white", mew=0.5)
    for place, minute in enumerate(minutes if source == "model" else ()):
        if minute in MARKED_MINUTES and np.isfinite(success[place] + detection[place]):
            axes.annotate(
                f"{minute:g}",
                (success[place], detection[place]),
                xytext=(-6, 5),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=8,
                color=style.colour,
                zorder=9,
            )


def _performance_legend(axes: Axes, sources: Sequence[str]) -> None:
    for place, source in enumerate(sources):
        style = SOURCE_STYLES[source]
        axes.plot(0.05, 0.95 - 0.055 * place, style.marker, color=style.colour, markersize=5.5)
        axes.text(
            0.085,
            0.95 - 0.055 * place,
            style.label,
            color=style.colour,
            va="center",
            fontweight="bold" if source == "model" else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )
    axes.text(
        0.035,
        0.95 - 0.055 * len(sources),
        "numbers: lead time, min",
        color=FAINT,
        va="center",
        fontsize=7.5,
    )


def _numbers(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
