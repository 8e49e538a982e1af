"""Score tables with the best value of each row marked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from hvd_nowcast.plots.style import SOURCE_STYLES, readable_units
from hvd_nowcast.report.html import number, table, value_table


@dataclass(frozen=True)
class Metric:
    """How a score is shown: its title, and which of two values is worse (the smaller is best)."""

    title: str
    best_at: float
    shown: bool = False

    def distance(self, value: float) -> float:
        """How far a value is from perfect."""
        return abs(value - self.best_at)


METRICS = {
    "csi": Metric("Critical success index (CSI)", 1.0, shown=True),
    "mae": Metric("Mean absolute error (MAE)", 0.0, shown=True),
    "fss": Metric("Fractions skill score (FSS)", 1.0),
    "pod": Metric("Probability of detection (POD)", 1.0),
    "far": Metric("False alarm ratio (FAR)", 0.0),
    "sucr": Metric("Success ratio (SUCR)", 1.0),
    "bias": Metric("Frequency bias, best at 1", 1.0),
    "rmse": Metric("Root mean squared error (RMSE)", 0.0),
}


def score_tables(metric: str, scores: Mapping[str, Any]) -> Iterator[str]:
    """Lay out one table for each FSS window, one for every other metric."""
    keys = list(next(iter(scores["scores"].values()))[metric])
    windows: dict[str, list[str]] = {}
    for key in keys:
        windows.setdefault(key.partition("@")[2], []).append(key)
    for window, members in windows.items():
        title = METRICS[metric].title + (f", {window} window" if window else "")
        yield f"<h3>{escape(title)}</h3>"
        yield _score_table(metric, members, scores)


def _score_table(metric: str, keys: Sequence[str], scores: Mapping[str, Any]) -> str:
    sources = list(scores["scores"])
    units = readable_units(scores["units"])
    titles = [
        units if key == "all" else f"≥ {float(key.partition('@')[0]):g} {units}" for key in keys
    ]
    groups = "".join(
        f'<th class="group" colspan="{len(sources)}">{escape(title)}</th>' for title in titles
    )
    names = _cells(((label(source), False) for _ in keys for source in sources), len(sources), "th")
    rows = []
    for place, minute in enumerate(scores["lead_minutes"]):
        marked = [
            cell
            for key in keys
            for cell in _mark_best(
                metric, [scores["scores"][source][metric][key][place] for source in sources]
            )
        ]
        rows.append(f"<tr><th>{minute:g} min</th>{_cells(marked, len(sources), 'td')}</tr>")
    return (
        f'<div class="wide"><table><thead><tr><th></th>{groups}</tr><tr><th>lead</th>{names}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _mark_best(metric: str, values: Sequence[float | None]) -> list[tuple[str, bool]]:
    """Text of each value, and whether it is the best (as shown) of those that are defined."""
    distances = [None if v is None else METRICS[metric].distance(round(v, 3)) for v in values]
    best = min((d for d in distances if d is not None), default=None)
    return [
        (number(value), distance is not None and distance == best)
        for value, distance in zip(values, distances, strict=True)
    ]


def _cells(cells: Iterable[tuple[str, bool]], group: int, tag: str) -> str:
    parts = []
    for place, (text, best) in enumerate(cells):
        names = ["group"] * (place % group == 0) + ["best"] * best
        kind = f' class="{" ".join(names)}"' if names else ""
        parts.append(f"<{tag}{kind}>{escape(text)}</{tag}>")
    return "".join(parts)


def sharpness_tables(scores: Mapping[str, Any]) -> Iterator[str]:
    """Lay out the power of each source over that observed, a table for each lead time."""
    spectra = scores["spectra"]
    ratios = spectra.get("ratio")
    for place, minute in enumerate(spectra["lead_minutes"] if ratios else ()):
        rows = {
            label(source): [values[place] for values in lengths.values()]
            for source, lengths in ratios.items()
        }
        yield value_table(
            f"Power over that observed by wavelength at {minute:g} min: 1 is as sharp, less is "
            "smoother",
            [key.replace("km", " km") for key in next(iter(ratios.values()))],
            rows,
        )


def worst_table(scores: Mapping[str, Any]) -> str:
    """Lay out the starts at which the model did worst, the worst first."""
    worst = scores["worst"]
    sources = list(worst["starts"][0]["csi"])
    minutes = worst["lead_minutes"]
    head = ["start (UTC)", "wet share"]
    head += [f"{label(source)}, {minute:g} min" for minute in minutes for source in sources]
    rows = [
        [
            record["start"].replace("T", " ")[:16],
            number(record["wet_share"]),
            *(
                number(record["csi"][source][place])
                for place in range(len(minutes))
                for source in sources
            ),
        ]
        for record in worst["starts"]
    ]
    limit = f"{worst['threshold']:g} {readable_units(scores['units'])}".rstrip()
    share = f"{100 * worst['least_event_share']:g}"
    return (
        f"<h3>Worst starts: CSI at {escape(limit)}</h3><p>Starts at which the model was furthest "
        f"behind {escape(label(sources[-1]))} at the last lead time, of those with events then on "
        f"at least {share} % of the observed pixels.</p>{table(head, rows)}"
    )


def label(source: str) -> str:
    """Name a source for people."""
    style = SOURCE_STYLES.get(source)
    return style.label if style else source
