"""The part of the page that is about discharge."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from hvd_nowcast.report.html import number, value_table
from hvd_nowcast.report.tables import label

FLOOD_FIGURES = {
    "hydrographs": "Around the highest peak of the largest areas, longest lead time.",
    "scores": "Efficiency against lead time.",
}
TITLES = {
    "nse": "NSE, Nash-Sutcliffe efficiency",
    "kge": "KGE, Kling-Gupta efficiency",
    "pbias": "bias in percent",
    "rmse": "RMSE in m3/s",
    "peak_error": "error at the peaks in percent",
    "peak_timing": "error of the time of the peaks in hours",
}


def flood_headline(scores: Mapping[str, Any]) -> str:
    """One sentence: the efficiency of every source at the longest lead time."""
    hours = scores["lead_minutes"][-1] / 60
    values = ", ".join(
        f"{label(source)} {number(table['nse']['median'][-1])}"
        for source, table in scores["scores"].items()
    )
    gauges = len(scores["gauges"])
    return (
        f'<p class="lead">NSE {hours:g} h ahead, median of {gauges} gauges: {escape(values)}.</p>'
    )


def flood_tables(scores: Mapping[str, Any]) -> str:
    """The median over the gauges of every score, and the NSE of each gauge."""
    head = [f"{minutes / 60:g} h" for minutes in scores["lead_minutes"]]
    blocks = [
        value_table(
            TITLES[metric], head, {label(s): t[metric]["median"] for s, t in _sources(scores)}
        )
        for metric in TITLES
    ]
    gauges = {
        f"{gauge}, {area:,.0f} km²": scores["scores"]["model"]["nse"][gauge]
        for gauge, area in zip(scores["gauges"], scores["area_km2"], strict=True)
    }
    blocks.append("<details><summary>NSE of the model at each gauge</summary>")
    blocks.append(value_table("NSE", head, gauges) + "</details>")
    return "".join(blocks)


def _sources(scores: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(scores["scores"].items())
