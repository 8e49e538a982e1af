"""What an ensemble is worth: its score, its spread, its probabilities, its ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hvd_nowcast.plots.scores import finish_lead_axis
from hvd_nowcast.plots.style import (
    FAINT,
    SOURCE_STYLES,
    line_style,
    new_figure,
    readable_units,
    with_units,
)
from hvd_nowcast.verification.scores import second_threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN_MINUTES = 60


def ensemble_figure(scores: Mapping[str, Any]) -> Figure:
    """CRPS, spread beside error, reliability and ranks of each ensemble.

    Parameters
    ----------
    scores
        `Evaluation.to_json()` with ensembles.
    """
    minutes, units = scores["lead_minutes"], scores["units"]
    place = minutes.index(SHOWN_MINUTES) if SHOWN_MINUTES in minutes else len(minutes) - 1
    figure = new_figure(11.0, 6.4)
    (score, spread), (reliability, ranks) = figure.subplots(2, 2)
    _against_lead(score, scores, {"crps": "-"})
    score.set_title(with_units("CRPS", units) + ", less is better")
    _against_lead(spread, scores, {"error": "-", "spread": ":"})
    spread.set_title(with_units("line: error of the mean, dots: spread", units))
    threshold = str(second_threshold(scores["thresholds"]))
    _draw_reliability(reliability, scores, threshold, place)
    limit = f"{float(threshold):g} {readable_units(units)}".rstrip()
    reliability.set_title(f"reliability of ≥ {limit} at +{minutes[place]:g} min")
    _draw_ranks(ranks, scores, place)
    ranks.set_title(f"rank of the observation at +{minutes[place]:g} min")
    sizes = {table["members"] for table in scores["ensembles"].values()}
    figure.suptitle(
        f"{scores['starts']} forecasts of the {scores['split']} split, {max(sizes)} members",
        x=0.01,
        ha="left",
        fontsize=8.5,
        color=FAINT,
    )
    return figure


def _against_lead(axes: Axes, scores: Mapping[str, Any], lines: Mapping[str, str]) -> None:
    minutes = scores["lead_minutes"]
    ends = {}
    for source, table in scores["ensembles"].items():
        for place, (name, dashes) in enumerate(lines.items()):
            axes.plot(minutes, table[name], **line_style(source) | {"linestyle": dashes})
            if not place:
                ends[source] = float(table[name][-1])
    axes.set_ylim(0, axes.get_ylim()[1])
    axes.set_xlabel("lead time (min)")
    finish_lead_axis(axes, minutes, ends)


def _draw_reliability(axes: Axes, scores: Mapping[str, Any], threshold: str, place: int) -> None:
    axes.plot((0, 1), (0, 1), color=FAINT, linewidth=0.8, zorder=1)
    for source, table in scores["ensembles"].items():
        known = [
            (probability, frequency)
            for probability, frequency in zip(
                table["probability"], table["reliability"][threshold][place], strict=True
            )
            if frequency is not None
        ]
        style = SOURCE_STYLES[source]
        axes.plot(
            *zip(*known, strict=True),
            **line_style(source),
            marker=style.marker,
            markersize=4,
            label=style.label,
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("forecast probability")
    axes.set_ylabel("share observed")
    axes.legend(frameon=False, loc="upper left", fontsize=8.5)


def _draw_ranks(axes: Axes, scores: Mapping[str, Any], place: int) -> None:
    tables = scores["ensembles"]
    for number, (source, table) in enumerate(tables.items()):
        shares = [np.nan if share is None else share for share in table["ranks"][place]]
        width = 0.8 / len(tables)
        positions = np.arange(len(shares)) + (number - (len(tables) - 1) / 2) * width
        axes.bar(positions, shares, width, color=SOURCE_STYLES[source].colour, zorder=2)
        axes.axhline(1 / len(shares), color=FAINT, linewidth=0.8)
    axes.set_xlabel("members below the observation")
    axes.set_ylabel("share of places")
    axes.grid(visible=False, axis="x")
