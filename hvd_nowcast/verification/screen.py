"""Score tables of a nowcast as text for the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hvd_nowcast import console
from hvd_nowcast.verification.scores import SHOWN_FSS, second_threshold

TABLE_MINUTES = (5, 10, 15, 30, 45, 60, 90, 120, 180)


def screen_tables(scores: Mapping[str, Any]) -> str:
    """CSI and FSS at the second threshold and MAE at a few lead times, ensembles, sharpness.

    Parameters
    ----------
    scores
        `Evaluation.to_json()`.
    """
    minutes = scores["lead_minutes"]
    places = [i for i, m in enumerate(minutes) if m in TABLE_MINUTES] or range(len(minutes))
    parts = _score_tables(scores, places)
    if scores["ensembles"]:
        parts.append(_ensemble_table(scores, places))
    if scores["spectra"]["ratio"]:
        parts.append(_sharpness_table(scores["spectra"]))
    pooled = f"{scores['starts']} starts of the {scores['split']} split. {scores['pooling']}"
    return "\n\n".join([*parts, pooled])


def _score_tables(scores: Mapping[str, Any], places: Sequence[int]) -> list[str]:
    threshold, units = str(second_threshold(scores["thresholds"])), scores["units"]
    tables = []
    for title, metric, key in (
        (f"CSI at {threshold} {units}", "csi", threshold),
        (f"FSS at {threshold} {units}, {_spaced(SHOWN_FSS)}", "fss", f"{threshold}@{SHOWN_FSS}"),
        (f"MAE in {units}", "mae", "all"),
    ):
        rows = [
            [_name(source), *(table[metric][key][i] for i in places)]
            for source, table in scores["scores"].items()
        ]
        tables.append(console.table([title, *_lead_titles(scores, places)], rows))
    return tables


def _ensemble_table(scores: Mapping[str, Any], places: Sequence[int]) -> str:
    threshold = str(second_threshold(scores["thresholds"]))
    rows = []
    for title, value in (
        (f"CRPS in {scores['units']}", lambda table, i: table["crps"][i]),
        (f"Brier score at {threshold}", lambda table, i: table["brier"][threshold][i]),
        ("spread over error", lambda table, i: _ratio(table["spread"][i], table["error"][i])),
    ):
        rows += [
            [f"{title}, {_name(source)}", *(value(table, i) for i in places)]
            for source, table in scores["ensembles"].items()
        ]
    members = max(table["members"] for table in scores["ensembles"].values())
    return console.table([f"{members} members", *_lead_titles(scores, places)], rows)


def _sharpness_table(spectra: Mapping[str, Any]) -> str:
    """Power of each source over that observed: 1 is as sharp, less is smoother."""
    rows = [
        [f"{_name(source)}, {minutes} min", *(values[place] for values in ratios.values())]
        for place, minutes in enumerate(spectra["lead_minutes"])
        for source, ratios in spectra["ratio"].items()
    ]
    lengths = [_spaced(key) for key in next(iter(spectra["ratio"].values()))]
    return console.table(["RAPSD over observed at wavelength", *lengths], rows)


def _lead_titles(scores: Mapping[str, Any], places: Sequence[int]) -> list[str]:
    return [f"{scores['lead_minutes'][i]} min" for i in places]


def _name(source: str) -> str:
    return source.replace("_", " ")


def _spaced(length: str) -> str:
    return length.replace("km", " km")


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None
