"""One look for all figures: colours by source, fonts, direct labels, saving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hvd_nowcast.errors import OutputError
from hvd_nowcast.optional import import_optional
from hvd_nowcast.shards.writer import atomic_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#222222"
FAINT = "#8a8a8a"
GRID = "#e3e3e3"

SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "figure.facecolor": "white",
    "savefig.dpi": 160,
}


@dataclass(frozen=True)
class SourceStyle:
    """How one source is drawn, everywhere; colours of Okabe and Ito, safe for colour-blind eyes."""

    label: str
    colour: str
    width: float
    dashes: str
    marker: str
    order: int


# Thin lines lie above thick ones, so that two sources of equal score are both seen.
SOURCE_STYLES = {
    "observed": SourceStyle("observed", "#000000", 2.2, "-", "D", 2),
    "model": SourceStyle("model", "#0072B2", 3.0, "-", "o", 4),
    "optical_flow": SourceStyle("optical flow", "#D55E00", 1.6, "-", "s", 5),
    # Thin and dashed: a reader who did not ask for them is not to be distracted.
    "model_without_motion": SourceStyle("no motion", "#009E73", 1.0, "--", "<", 7),
    "model_newest_frame": SourceStyle("one frame", "#009E73", 1.0, ":", ">", 7),
    "model_half_frames": SourceStyle("half frames", "#009E73", 1.0, "-.", "d", 7),
    "persistence": SourceStyle("persistence", "#8a8a8a", 1.4, "--", "^", 6),
    "steps": SourceStyle("STEPS", "#CC79A7", 1.8, "-", "v", 5),
    "model_member": SourceStyle("one member", "#56B4E9", 1.6, "-", "P", 5),
    "steps_member": SourceStyle("one of STEPS", "#CC79A7", 1.4, "--", "v", 6),
    "linear": SourceStyle("lagged linear", "#009E73", 1.6, "-", "v", 5),
    "lstm": SourceStyle("LSTM", "#CC79A7", 1.6, "-", "P", 5),
}


def line_style(source: str) -> dict[str, Any]:
    """Arguments of ``plot`` for a source."""
    style = SOURCE_STYLES[source]
    return {
        "color": style.colour,
        "linewidth": style.width,
        "linestyle": style.dashes,
        "zorder": style.order,
    }


def readable_units(units: str) -> str:
    """Units as people write them in a figure, empty for a plain number."""
    return {"mm h-1": "mm/h", "1": ""}.get(units, units)


def with_units(text: str, units: str) -> str:
    """Put the unit in brackets behind a name, if there is one."""
    return f"{text} ({readable_units(units)})" if readable_units(units) else text


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of a size in inches that no window will ever show.

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.
    """
    return import_matplotlib("figure").Figure(figsize=(width, height), layout="constrained")


def save_figure(draw: Callable[[], Figure], path: Path) -> Path:
    """Draw in the common style and write a PNG, at once or not at all.

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.
    OutputError
        When the file cannot be written.
    """
    matplotlib = import_matplotlib()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(f"{path.parent}: cannot make this folder ({problem})") from problem
    with matplotlib.rc_context(SETTINGS):
        figure = draw()
        with atomic_output(path) as aside:
            figure.savefig(aside, format="png")
    return path


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move positions apart until neighbours are a gap away, keeping their order and centre."""
    if not positions:
        return []
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(positions))
    # Least squares with "ascending by at least the gap" is isotonic regression: pool neighbours.
    blocks: list[list[float]] = []
    for value in np.asarray(positions, dtype=float)[order] - steps:
        blocks.append([value])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    flat = np.repeat([np.mean(block) for block in blocks], [len(block) for block in blocks]) + steps
    return [float(flat[place]) for place in np.argsort(order)]


def label_line_ends(axes: Axes, ends: dict[str, float], x: float) -> None:
    """Write each source's name to the right of its line.

    Parameters
    ----------
    axes
        Where; its limits must be set already.
    ends
        Source -> height of the end of its line.
    x
        Where the lines end.
    """
    low, high = axes.get_ylim()
    gap = 0.085 * (high - low)
    heights = np.array(spread(list(ends.values()), gap))
    heights -= max(0.0, heights.max(initial=low) - high + 0.5 * gap)
    heights += max(0.0, low + 0.5 * gap - heights.min(initial=high))
    for source, height in zip(ends, heights, strict=True):
        style = SOURCE_STYLES[source]
        axes.annotate(
            style.label,
            (x, height),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=style.colour,
            fontweight="bold" if source == "model" else "normal",
            fontsize=8.5,
            annotation_clip=False,
        )


def import_matplotlib(module: str | None = None) -> Any:
    """The package matplotlib, or one of its modules.

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.
    """
    name = f"matplotlib.{module}" if module else "matplotlib"
    return import_optional(name, "figures need matplotlib", "matplotlib")
