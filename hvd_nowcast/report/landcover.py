"""The part of the page that is about land cover."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from hvd_nowcast.report.html import number, value_table

LANDCOVER_FIGURES = {
    "maps": "Labels and map of classes; grey where nothing is known.",
    "confusion": "What the model makes of each observed class.",
}
SUMMARY = {"accuracy": "accuracy", "mean_recall": "mean class recall", "kappa": "kappa"}


def landcover_headline(scores: Mapping[str, Any]) -> str:
    """One sentence: accuracy and mean class recall of every source."""
    values = "; ".join(
        f"{source.replace('_', ' ')} {number(table['accuracy'])} and {number(table['mean_recall'])}"
        for source, table in scores["scores"].items()
    )
    return f'<p class="lead">Accuracy and mean class recall: {escape(values)}.</p>'


def landcover_tables(scores: Mapping[str, Any]) -> str:
    """Summary scores of every source, and F1 of every class."""
    sources = [(name.replace("_", " "), table) for name, table in scores["scores"].items()]
    pixels = f"{sum(scores['pixels']):,} labelled pixels of the {scores['split']} split."
    summary = {s: [table[key] for key in SUMMARY] for s, table in sources}
    classes = [name.replace("_", " ") for name in scores["classes"]]
    return (
        f"<p>{escape(pixels)}</p>"
        + value_table("Summary", list(SUMMARY.values()), summary)
        + value_table("F1 of each class", classes, {s: table["f1"] for s, table in sources})
    )
