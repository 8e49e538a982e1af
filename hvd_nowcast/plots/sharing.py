"""What each rank did during a step: computed, or waited for the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvd_nowcast.plots.style import SOURCE_STYLES, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 6
WAITING = "#d9d9d9"


def save_sharing_figure(history: Sequence[Mapping[str, Any]], target: Path) -> Path:
    """Draw how the ranks spent their steps under each division of the batch.

    Parameters
    ----------
    history
        ``shares`` of a run's ``final.json``.
    target
        PNG file.
    """
    return save_figure(partial(sharing_figure, measured(history)), target)


def measured(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Divisions with times of more than one rank, the first and the newest of many."""
    found = [entry for entry in history if len(entry.get("work", ())) > 1]
    return found if len(found) <= MOST_PANELS else [found[0], *found[1 - MOST_PANELS :]]


def sharing_figure(history: Sequence[Mapping[str, Any]]) -> Figure:
    """One panel a division: a bar for each rank, computing and then waiting or exchanging."""
    ranks = len(history[0]["work"])
    figure = new_figure(7.5, 0.9 + len(history) * (0.5 + 0.28 * ranks))
    panels = figure.subplots(len(history), 1, sharex=True, squeeze=False)[:, 0]
    for panel, entry in zip(panels, history, strict=True):
        _draw_ranks(panel, entry)
    panels[0].legend(frameon=False, fontsize=8.5, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    panels[-1].set_xlabel("milliseconds of a step (median)")
    return figure


def _draw_ranks(axes: Axes, entry: Mapping[str, Any]) -> None:
    names = [f"rank {rank}: {share}" for rank, share in enumerate(entry["shares"])]
    work = [1e3 * seconds for seconds in entry["work"]]
    wait = [1e3 * seconds for seconds in entry["wait"]]
    axes.barh(names, work, color=SOURCE_STYLES["model"].colour, label="read and compute")
    axes.barh(names, wait, left=work, color=WAITING, label="wait and exchange")
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_title(f"from step {entry['step']}")
