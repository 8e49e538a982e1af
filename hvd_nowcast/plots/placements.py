"""What every placement of a network took, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvd_nowcast.plots.style import SOURCE_STYLES, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Title, and how a placement gives one bar for each rank or one for all.
PANELS: dict[str, Callable[[Mapping[str, Any]], list[float]]] = {
    "step (ms)": lambda one: [1e3 * one["step_seconds"]],
    "sent per step (kB)": lambda one: [one["sent_bytes"] / 1e3],
    "busy share of each rank": lambda one: list(one["busy"]),
    "validation (ms)": lambda one: [1e3 * one["validation_seconds"]],
    "memory of each rank (MB)": lambda one: [memory / 1e6 for memory in one["memory"]],
}


def save_placements(found: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Draw what ``comparison.json`` holds.

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.
    OutputError
        When the file cannot be written.
    """
    return save_figure(lambda: placements_figure(found), path)


def placements_figure(found: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel for each quantity, a group of bars for each placement."""
    figure = new_figure(2.3 * len(PANELS), 0.9 + 0.5 * len(found))
    names = [one["placement"].replace(", ", "\n") for one in found]
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (title, values) in zip(panels, PANELS.items(), strict=True):
        for row, one in enumerate(found):
            bars = values(one)
            height = 0.7 / len(bars)
            places = [row - 0.35 + height * (number + 0.5) for number in range(len(bars))]
            axes.barh(places, bars, 0.85 * height, color=SOURCE_STYLES["model"].colour)
        axes.set_title(title, fontsize=9)
        axes.set_yticks(range(len(found)), names)
        axes.set_xlim(left=0)
    panels[0].invert_yaxis()
    return figure
