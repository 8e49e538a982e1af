"""One self-contained HTML page about a run, made of the files in its folder only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from hvd_nowcast import console
from hvd_nowcast.errors import MissingDependencyError, RunFolderError
from hvd_nowcast.plots.sharing import measured, save_sharing_figure
from hvd_nowcast.plots.style import readable_units
from hvd_nowcast.plots.training import save_training_figure
from hvd_nowcast.report.flood import FLOOD_FIGURES, flood_headline, flood_tables
from hvd_nowcast.report.html import STYLE, facts_table, figure, missing, number
from hvd_nowcast.report.landcover import (
    LANDCOVER_FIGURES,
    landcover_headline,
    landcover_tables,
)
from hvd_nowcast.report.tables import (
    METRICS,
    label,
    score_tables,
    sharpness_tables,
    worst_table,
)
from hvd_nowcast.shards.writer import atomic_output
from hvd_nowcast.verification.scores import second_threshold

__all__ = ["write_report"]

HEADLINE_MINUTES = (30, 60)

FIGURES = {
    "scores": "Scores against lead time.",
    "maps": "The start with the most rain: observed and forecast.",
    "performance": "Performance diagram: top right is best, the diagonal is without bias.",
    "spectra": "Power against wavelength: below the observed line, small scales have been lost.",
}

ENSEMBLE_CAPTION = (
    "The ensemble: its score, whether its spread is as large as its error, whether its "
    "probabilities come true (on the diagonal), and whether every rank is as frequent (level bars)."
)

WORST_CAPTION = "The worst start of all: observed and forecast."


class TaskPart(NamedTuple):
    """What a page says about the scores of a task."""

    headline: Callable[[Mapping[str, Any]], str]
    tables: Callable[[Mapping[str, Any]], str]
    figures: Mapping[str, str]


OTHER_TASKS = {
    "flood": TaskPart(flood_headline, flood_tables, FLOOD_FIGURES),
    "landcover": TaskPart(landcover_headline, landcover_tables, LANDCOVER_FIGURES),
}


def write_report(run_folder: str | Path) -> Path:
    """Write ``RUN/report.html``.

    What a run does not have yet is named with the command that makes it. The training curves are
    drawn anew when matplotlib is there.

    Parameters
    ----------
    run_folder
        The run.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    RunFolderError
        When the folder is no run, or one of its files is damaged.
    OutputError
        When the page cannot be written.
    """
    run = Path(run_folder)
    if not (run / "config.yaml").is_file():
        raise RunFolderError(
            f"{run}: not a run folder, it has no config.yaml. "
            "Make one with: hvd-nowcast train CONFIG --run DIR"
        )
    if (run / "metrics.jsonl").is_file():
        _draw_training(run)
    page = "\n".join(_page(run))
    target = run / "report.html"
    with atomic_output(target) as aside:
        aside.write_text(page, encoding="utf-8")
    return target


def _draw_training(run: Path) -> None:
    history = (_read_json(run / "final.json") or {}).get("shares", [])
    try:
        save_training_figure(run)
        if measured(history):
            save_sharing_figure(history, run / "figures" / "sharing.png")
    except (MissingDependencyError, RunFolderError) as problem:
        console.warn(f"without training curves: {problem}")


def _page(run: Path) -> Iterator[str]:
    name = escape(run.resolve().name)
    scores = _read_json(run / "scores.json")
    yield "<!doctype html>"
    yield f'<html lang="en"><head><meta charset="utf-8"><title>{name} · hvd-nowcast</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{STYLE}</style></head><body>"
    yield f"<h1>Run {name}</h1>"
    yield from _headline(scores)
    yield "<h2>Training</h2>"
    yield from _training(run)
    yield "<h2>Verification</h2>"
    yield from _verification(run, scores)
    yield "<h2>How it was made</h2>"
    yield from _origin(run)
    yield "</body></html>"


def _headline(scores: Mapping[str, Any] | None) -> Iterator[str]:
    if scores is None:
        return
    if scores.get("task") in OTHER_TASKS:
        yield OTHER_TASKS[scores["task"]].headline(scores)
        return
    threshold = second_threshold(scores["thresholds"])
    parts = []
    minutes = scores["lead_minutes"]
    for minute in [m for m in HEADLINE_MINUTES if m in minutes] or minutes[-1:]:
        values = [
            f"{label(source)} {number(table['csi'][str(threshold)][minutes.index(minute)])}"
            for source, table in scores["scores"].items()
        ]
        parts.append(f"after {minute} min {', '.join(values)}")
    limit = f"{threshold:g} {readable_units(scores['units'])}".strip()
    yield f'<p class="lead">CSI at {escape(limit)}: {"; ".join(map(escape, parts))}.</p>'


def _training(run: Path) -> Iterator[str]:
    command = f"train {run}/config.yaml --run {run} --resume"
    final = _read_json(run / "final.json")
    if final is None:
        yield missing("The training has not finished.", command)
    else:
        yield facts_table(_training_facts(final))
    yield figure(
        run / "figures" / "training.png", "Loss and learning rate over the steps.", command
    )
    if final is not None and measured(final.get("shares", [])):
        caption = "How the ranks spent a step, for each division of the batch."
        yield figure(run / "figures" / "sharing.png", caption, command)


def _training_facts(final: Mapping[str, Any]) -> dict[str, Any]:
    """Names for people where we know them, else the names in ``final.json``."""
    formats = {
        "parameters": ("model size", "{:,} parameters"),
        "steps": ("steps", "{:,}"),
        "training_seconds": ("training time", "{:,.0f} s"),
        "validation_seconds": ("time of a validation", "{:,.1f} s"),
        "samples_per_second": ("speed", "{:.1f} samples/s"),
        "ranks": ("processes", "{}"),
        "best_loss": ("best validation loss", "{:.5g}"),
        "best_step": ("at step", "{:,}"),
        "loss": ("last validation loss", "{:.5g}"),
        "fingerprint": ("fingerprint of the weights", "{}"),
    }
    named = {
        title: form.format(final[key])
        for key, (title, form) in formats.items()
        if final.get(key) is not None
    }
    rest = {key: value for key, value in final.items() if key not in {*formats, "shares"}}
    return named | rest


def _verification(run: Path, scores: Mapping[str, Any] | None) -> Iterator[str]:
    command = f"evaluate {run}"
    if scores is not None and scores.get("task") in OTHER_TASKS:
        part = OTHER_TASKS[scores["task"]]
        yield part.tables(scores)
        for name, caption in part.figures.items():
            yield figure(run / "figures" / f"{name}.png", caption, command)
        return
    if scores is None:
        yield missing("There are no scores yet.", command)
    else:
        yield (
            f"<p>{scores['starts']} forecasts of the {escape(scores['split'])} split, pixels of "
            f"{scores['pixel_metres'] / 1000:g} km. {escape(scores['pooling'])} "
            'The <span class="best">best</span> value of each row is marked.</p>'
        )
        for metric in (name for name in METRICS if METRICS[name].shown):
            yield from score_tables(metric, scores)
    for name, caption in FIGURES.items():
        yield figure(run / "figures" / f"{name}.png", caption, command)
    if scores is not None and scores.get("ensembles"):
        yield figure(run / "figures" / "ensemble.png", ENSEMBLE_CAPTION, command)
    if scores is not None:
        yield from sharpness_tables(scores)
        yield from _failures(run, scores, command)
        yield "<details><summary>All other scores</summary>"
        for metric in (name for name in METRICS if not METRICS[name].shown):
            yield from score_tables(metric, scores)
        yield "</details>"


def _failures(run: Path, scores: Mapping[str, Any], command: str) -> Iterator[str]:
    if scores.get("worst", {}).get("starts"):
        yield worst_table(scores)
        yield figure(run / "figures" / "worst.png", WORST_CAPTION, command)


def _origin(run: Path) -> Iterator[str]:
    for title, name in (("Versions", "versions.json"), ("Working copy", "git.json")):
        content = _read_json(run / name)
        if content:
            yield f"<h3>{title}</h3>{facts_table(content)}"
    text = (run / "config.yaml").read_text(encoding="utf-8")
    yield f"<h3>Configuration</h3><pre>{escape(text)}</pre>"


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise RunFolderError(
            f"{path}: damaged ({problem}). Remove it and make it again"
        ) from problem
    return content
