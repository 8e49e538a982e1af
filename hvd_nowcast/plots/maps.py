"""Strips of rain maps: observed beside forecast, or one forecast alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.plots.style import (
    FAINT,
    INK,
    SOURCE_STYLES,
    new_figure,
    readable_units,
    with_units,
)
from hvd_nowcast.verification.example import Example
from hvd_nowcast.verification.scores import second_threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Map = NDArray[np.floating[Any]]

# Of the last lead time.
MAP_PARTS = (1 / 6, 1 / 3, 1 / 2, 3 / 4, 1)
MISSING_COLOUR = "#dcdcdc"
# Blue for stratiform rain, warm for convective: light to dark twice, so grey prints tell as well.
COLOURS = "#d3ebf8 #9ccdee #5ea7dc #2277c0 #0e4a8f #f8dc4c #f3a02f #dc4326 #a3156a #4d0a53".split()


@dataclass(frozen=True)
class ColourScale:
    """Name of a quantity on maps, its unit, and the lower limits of its ten colours."""

    name: str
    units: str
    levels: tuple[float, ...]


COLOUR_SCALES = {
    "rain_rate": ColourScale(
        "rain rate", "mm h-1", (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
    ),
    "vil": ColourScale(
        "VIL (SEVIR code)", "1", (16.0, 31.0, 45.0, 59.0, 74.0, 100.0, 133.0, 160.0, 181.0, 219.0)
    ),
    "chance": ColourScale(
        "chance", "%", (5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0)
    ),
}


@dataclass(frozen=True)
class Panel:
    """One map: its field, shape (y, x) with row 0 in the north, the text above it and in it."""

    field: Map
    title: str
    note: str = ""


def example_figure(
    scores: Mapping[str, Any], example: Example, chosen: str = "the start with the most rain"
) -> Figure:
    """Newest input, then observed, model and optical flow at a few lead times.

    Forecasts are shown where they are scored, and only the part of the frame that holds data.

    Parameters
    ----------
    scores
        `Evaluation.to_json()`, for lead times, quantity and pixel size.
    example
        The fields.
    chosen
        Why this start is shown.
    """
    minutes = scores["lead_minutes"]
    places = map_places(minutes)
    sources = [source for source in ("model", "optical_flow") if source in example.forecasts]
    fields = {"observed": example.observed} | {name: example.forecasts[name] for name in sources}
    threshold = second_threshold(scores["thresholds"])
    newest = Panel(example.newest, f"newest input\n{_clock(example.start)}")
    rows: dict[str, list[Panel | None]] = {}
    for source, frames in fields.items():
        panels = [
            Panel(
                np.where(np.isnan(example.observed[i]), np.nan, frames[i]),
                _lead_title(example.start, minutes[i]),
                _csi_note(frames[i], example.observed[i], threshold) if rows else "",
            )
            for i in places
        ]
        rows[source] = [None, *panels] if rows else [newest, *panels]
    view = covered(np.concatenate([example.newest[np.newaxis], example.observed]))
    figure = strip_figure(rows, scores["quantity"], scores["pixel_metres"], view)
    figure.suptitle(
        f"Forecast from {_day(example.start)}, {chosen}, of {scores['starts']} in the "
        f"{scores['split']} split; CSI at {threshold:g} {readable_units(scores['units'])} "
        "of each map",
        x=0.01,
        ha="left",
        fontsize=9,
        color=FAINT,
    )
    return figure


def forecast_figure(
    frames: Map,
    start: np.datetime64,
    minutes: Sequence[float],
    quantity: str,
    spacing: float,
    title: str = "Forecast",
) -> Figure:
    """One forecast at a few lead times.

    Parameters
    ----------
    frames
        Shape (leads, y, x), physical units, NaN where there is no value.
    start
        Forecast reference time, UTC.
    minutes
        Lead time of each frame.
    quantity
        ``rain_rate``, ``vil``, or ``chance`` in percent.
    spacing
        Pixel size in metres.
    title
        What is shown.
    """
    panels: list[Panel | None] = [
        Panel(frames[i], _lead_title(start, minutes[i])) for i in map_places(minutes)
    ]
    figure = strip_figure({"forecast": panels}, quantity, spacing, covered(frames))
    figure.suptitle(f"{title} from {_day(start)}", x=0.01, ha="left", fontsize=9, color=FAINT)
    return figure


def map_places(minutes: Sequence[float]) -> list[int]:
    """Places of up to five lead times to show: 10, 20, 30, 45 and 60 of 60 minutes, and so on."""
    wanted = np.array(MAP_PARTS) * minutes[-1]
    places: list[int] = np.abs(np.subtract.outer(wanted, minutes)).argmin(1).tolist()
    return list(dict.fromkeys(places))


def strip_figure(
    rows: Mapping[str, Sequence[Panel | None]],
    quantity: str,
    spacing: float,
    view: tuple[slice, slice],
) -> Figure:
    """Rows of maps with one colour bar, distances in km from the lower-left corner.

    Parameters
    ----------
    rows
        Source -> panels from left to right, all rows alike long; None leaves a gap.
    quantity
        ``rain_rate`` or ``vil``.
    spacing
        Pixel size in metres.
    view
        Rows and columns to show.
    """
    lines = list(rows.values())
    columns = max(map(len, lines))
    height, width = (part.stop - part.start for part in view)
    side = 10.0 / columns
    figure = new_figure(11.0, min(14.0, (side * height / width + 0.1) * len(rows) + 0.9))
    cells = figure.add_gridspec(len(rows), columns)
    for row, (source, line) in enumerate(rows.items()):
        shown = {place: panel for place, panel in enumerate(line) if panel}
        for place, panel in shown.items():
            axes = figure.add_subplot(cells[row, place])
            _draw_map(axes, panel, quantity, spacing, view)
            _label_axes(axes, place == min(shown), row + 1 == len(rows), row == 0)
            if place == min(shown):
                _name_row(axes, source)
    gap = [row for row, line in enumerate(lines) if line[0] is None]
    _add_colour_bar(figure, figure.add_subplot(cells[min(gap) :, 0]) if gap else None, quantity)
    return figure


def _label_axes(axes: Axes, left: bool, below: bool, above: bool) -> None:
    axes.tick_params(labelleft=left, labelbottom=below, labelsize=7.5, length=2)
    axes.set_xlabel("km" if below else "")
    if not above:
        axes.set_title("", loc="center")


def covered(frames: Map) -> tuple[slice, slice]:
    """Rows and columns that hold all values of some frames (t, y, x), with a small margin."""
    valid = ~np.isnan(frames).all(axis=0)
    parts = []
    for axis in (1, 0):
        places = np.flatnonzero(valid.any(axis=axis))
        size = valid.shape[1 - axis]
        margin = size // 50
        low, high = (places[0], places[-1] + 1) if len(places) else (0, size)
        parts.append(slice(max(0, int(low) - margin), min(size, int(high) + margin)))
    return parts[0], parts[1]


def _draw_map(
    axes: Axes, panel: Panel, quantity: str, spacing: float, view: tuple[slice, slice]
) -> None:
    colours, norm = _colours(quantity)
    rows, columns = panel.field.shape
    kilometres = spacing / 1000.0
    axes.imshow(
        panel.field,
        cmap=colours,
        norm=norm,
        extent=(0.0, columns * kilometres, 0.0, rows * kilometres),
        interpolation="nearest",
    )
    down, across = view
    axes.set_xlim(across.start * kilometres, across.stop * kilometres)
    axes.set_ylim((rows - down.stop) * kilometres, (rows - down.start) * kilometres)
    axes.grid(visible=False)
    axes.spines[["top", "right"]].set_visible(True)
    axes.locator_params(nbins=4)
    axes.set_title(panel.title, fontsize=8.5, loc="center")
    axes.text(
        0.955,
        0.06,
        panel.note,
        transform=axes.transAxes,
        ha="right",
        fontsize=7.5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
        visible=bool(panel.note),
    )


def _name_row(axes: Axes, source: str) -> None:
    style = SOURCE_STYLES.get(source)
    axes.set_ylabel(
        style.label if style else source,
        color=style.colour if style else INK,
        fontweight="bold",
        fontsize=9.5,
    )


def _colours(quantity: str) -> tuple[Any, Any]:
    """Colour map and its limits: white below the lowest, light grey where there is no value."""
    from matplotlib.colors import BoundaryNorm, ListedColormap

    colours = ListedColormap(COLOURS[:-1]).with_extremes(
        bad=MISSING_COLOUR, under="#ffffff", over=COLOURS[-1]
    )
    levels = COLOUR_SCALES[quantity].levels
    return colours, BoundaryNorm(levels, len(levels) - 1)


def _add_colour_bar(figure: Figure, room: Axes | None, quantity: str) -> None:
    """Colour bar in an empty cell of the strip, or at its right."""
    from matplotlib.cm import ScalarMappable

    scale = COLOUR_SCALES[quantity]
    colours, norm = _colours(quantity)
    place: dict[str, Any] = {"ax": figure.axes, "pad": 0.01, "fraction": 0.03}
    if room is not None:
        room.set_axis_off()
        place = {"cax": room.inset_axes((0.3, 0.0, 0.09, 0.88))}
    bar = figure.colorbar(ScalarMappable(norm, colours), extend="max", ticks=scale.levels, **place)
    bar.ax.set_yticklabels([f"{level:g}" for level in scale.levels])
    bar.ax.tick_params(labelsize=7.5, length=0)
    bar.ax.grid(visible=False)
    bar.set_label(with_units(scale.name, scale.units) + "\ngrey: no value", fontsize=8)


def _csi_note(forecast: Map, observed: Map, threshold: float) -> str:
    valid = ~np.isnan(observed)
    ours, theirs = (np.nan_to_num(field) >= threshold for field in (forecast, observed))
    either = np.count_nonzero((ours | theirs) & valid)
    return f"CSI {np.count_nonzero(ours & theirs & valid) / either:.2f}" if either else ""


def _lead_title(start: np.datetime64, minutes: float) -> str:
    return f"+{minutes:g} min\n{_clock(start + np.timedelta64(round(60 * minutes), 's'))}"


def _clock(time: np.datetime64) -> str:
    return f"{str(time.astype('datetime64[m]'))[11:]} UTC"


def _day(time: np.datetime64) -> str:
    return str(time.astype("datetime64[m]")).replace("T", " ") + " UTC"
