"""Maps of classes beside what was observed, and the confusion of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.plots.style import FAINT, import_matplotlib, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that people expect, by words in the name of a class; others take the next free one.
EXPECTED = {
    "water": "#3f7fbf",
    "forest": "#2f7d3a",
    "shrub": "#9bbf5a",
    "grass": "#c7e08a",
    "herb": "#d9e8a0",
    "cultivated": "#e8c95a",
    "agric": "#e8c95a",
    "develop": "#c0392b",
    "artificial": "#c0392b",
    "cleared": "#d9a066",
    "dry": "#8a5a2b",
    "bare": "#b8a99a",
    "sediment": "#b8a99a",
    "wetland": "#5fb3a8",
    "snow": "#e6f0f7",
    "tundra": "#a39bb5",
}
SPARE = ("#cc79a7", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#999999")
NOTHING = "#f4f4f4"


def save_landcover_figures(
    scores: Mapping[str, Any],
    labels: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    folder: Path,
) -> list[Path]:
    """Draw ``maps.png`` and ``confusion.png``.

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.
    OutputError
        When a file cannot be written.
    """
    fields = {"labels": labels, "model": predicted}
    return [
        save_figure(lambda: map_figure(fields, scores["classes"]), folder / "maps.png"),
        save_figure(lambda: confusion_figure(scores), folder / "confusion.png"),
    ]


def save_class_map(found: NDArray[np.uint8], classes: Sequence[str], folder: Path) -> Path:
    """Draw ``land_cover.png``.

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.
    OutputError
        When the file cannot be written.
    """
    return save_figure(lambda: map_figure({"model": found}, classes), folder / "land_cover.png")


def map_figure(fields: Mapping[str, NDArray[np.uint8]], classes: Sequence[str]) -> Figure:
    """Maps side by side with one legend of the classes that occur."""
    patches, colours = import_matplotlib("patches"), import_matplotlib("colors")
    rows, columns = next(iter(fields.values())).shape
    width = 4.2 * len(fields) + 1.6
    figure = new_figure(width, 4.2 * rows / columns + 0.4)
    palette = colours.ListedColormap([NOTHING, *class_colours(classes)])
    for axes, (title, field) in zip(
        figure.subplots(1, len(fields), squeeze=False)[0], fields.items(), strict=True
    ):
        axes.imshow(field, palette, vmin=0, vmax=len(classes), interpolation="nearest")
        axes.set_title(title)
        axes.grid(visible=False)
        axes.set_xticks([])
        axes.set_yticks([])
    present = sorted({int(n) for field in fields.values() for n in np.unique(field)} - {0})
    handles = [
        patches.Patch(color=palette(number), label=classes[number - 1].replace("_", " "))
        for number in present
    ]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8.5)
    return figure


def class_colours(classes: Sequence[str]) -> list[str]:
    """A colour for each class, the expected one where its name tells."""
    spare = iter([*SPARE, *["#777777"] * len(classes)])
    taken: list[str] = []
    for name in classes:
        fitting = (colour for word, colour in EXPECTED.items() if word in name.lower())
        colour = next((colour for colour in fitting if colour not in taken), None)
        taken.append(colour or next(spare))
    return taken


def confusion_figure(scores: Mapping[str, Any]) -> Figure:
    """Share of each observed class that was given each class."""
    counts = np.array(scores["confusion"]["model"], float)
    there = np.flatnonzero(counts.sum(1))
    given = np.flatnonzero(counts[:, :-1].sum(0) + counts[:, :-1].sum(1))
    figure = new_figure(1.9 + 0.75 * len(given), 1.4 + 0.5 * len(there))
    axes: Axes = figure.subplots()
    share = counts[np.ix_(there, given)] / counts[there].sum(1, keepdims=True)
    axes.imshow(share, "Blues", vmin=0, vmax=1, aspect="auto")
    axes.grid(visible=False)
    names = [name.replace("_", " ") for name in scores["classes"]]
    axes.set_xticks(range(len(given)), [names[n] for n in given], rotation=30, ha="right")
    axes.set_yticks(range(len(there)), [f"{names[n]} ({counts[n].sum():,.0f})" for n in there])
    for row, values in enumerate(share):
        for column, value in enumerate(values):
            colour = "white" if value > 0.55 else "black" if value >= 0.005 else FAINT
            axes.text(
                column, row, f"{100 * value:.0f}", ha="center", va="center", color=colour, size=8
            )
    axes.set_xlabel("given by the model")
    axes.set_ylabel("observed (pixels)")
    axes.set_title("percent of each observed class")
    return figure
