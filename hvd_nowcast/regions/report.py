"""What came of many models: lines for the screen, ``scores.json`` and one HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from hvd_nowcast import console
from hvd_nowcast.errors import MissingDependencyError
from hvd_nowcast.regions.comparison import (
    SchemeResult,
    aligned_against,
    compare_schemes,
    scheme_rows,
    scratch_until_best,
)
from hvd_nowcast.regions.figures import draw_regions
from hvd_nowcast.regions.folder import FAILURES, FARM, ModelOutcome, Plan, RegionsFolder
from hvd_nowcast.regions.transfer import ALIGNED, serving_model
from hvd_nowcast.report.html import STYLE, figure, missing, number, table
from hvd_nowcast.shards.writer import atomic_output

SCORES = "scores.json"
SKILLS = {"nowcast": "CSI at 1 mm/h", "flood": "NSE", "landcover": "accuracy"}
CAPTIONS = {
    "clusters": "Regions by cluster; others of a cluster learn from its source, in bold.",
    "schemes": "Each dot is a region whose model started from a source; the bar is the median.",
}


def region_lines(folder: RegionsFolder) -> Iterator[str]:
    """The state of all regions, the schemes beside each other, and where the figures are.

    Raises
    ------
    RunFolderError
        When the folder holds no plan.
    """
    plan, skill = folder.plan(), _skill(folder)
    outcomes = folder.outcomes(plan)
    yield console.table(*region_rows(plan, outcomes, skill))
    yield farm_line(folder)
    if len(plan.schemes) > 1:
        results = compare_schemes(plan, outcomes)
        yield console.table(*scheme_rows(results, skill))
        yield from _aligned_lines(plan, outcomes)
        folder.write_json(SCORES, scores(plan, outcomes, results, skill))
        yield f"scores: {folder.path / SCORES}"
    try:
        for path in draw_regions(folder):
            yield f"figure: {path}"
    except MissingDependencyError as problem:
        console.warn(f"without figures: {problem}")


def farm_line(folder: RegionsFolder) -> str:
    """How long the farm took, beside the least it could have taken."""
    facts = folder.read_json(FARM)
    return (
        f"{len(facts['jobs'])} models on {facts['ranks']} ranks in {facts['seconds']:.1f} s, "
        f"{facts['start_seconds']:.1f} s of it to build the network; the least possible is "
        f"{facts['ideal_seconds']:.1f} s"
    )


def region_rows(
    plan: Plan, outcomes: Mapping[str, ModelOutcome], skill: str
) -> tuple[list[str], list[list[object]]]:
    """Header and rows of the table of regions, of the scheme that serves."""
    planned = plan.by_name()
    rows_of = {place: row for row, place in enumerate(plan.numbers)}
    rows: list[list[object]] = []
    for place, region in enumerate(plan.regions):
        problem = plan.descriptions[place].problem
        if problem is not None:
            rows.append([region.name, None, f"no model: {problem}", None, None, None, None])
            continue
        name = serving_model(plan.serving, region.name, planned)
        outcome = outcomes.get(name)
        source = planned[name].source or "scratch"
        cluster = int(plan.grouping.similar.label[rows_of[place]])
        found = (
            [None, None, None]
            if outcome is None
            else [outcome.steps, f"{outcome.seconds:.1f}", outcome.skill]
        )
        state = "not finished" if outcome is None else "trained"
        rows.append([region.name, cluster, state, source, *found])
    return ["region", "cluster", "state", "learnt from", "steps", "seconds", skill], rows


def _aligned_lines(plan: Plan, outcomes: Mapping[str, ModelOutcome]) -> Iterator[str]:
    if ALIGNED not in plan.schemes:
        yield "there is a single time, so that the aligned scheme is the similar one"
        return
    for scheme, found in aligned_against(plan, outcomes).items():
        cost, loss = found["processor"][1], found["loss"][1]
        yield (
            f"{ALIGNED} against {scheme}: {cost:.2f} times the processor seconds, {loss:.3f} times "
            f"the test loss, which is lower in {found['better']} of {found['regions']} regions"
        )


def scores(
    plan: Plan,
    outcomes: Mapping[str, ModelOutcome],
    results: Sequence[SchemeResult],
    skill: str,
) -> dict[str, Any]:
    """All of the comparison, ready for JSON."""
    return {
        "skill": skill,
        "plan_seconds": plan.seconds,
        "schemes": [asdict(result) for result in results],
        "aligned_against": aligned_against(plan, outcomes),
        "scratch_until_best": scratch_until_best(plan, outcomes),
        "models": {name: asdict(outcome) for name, outcome in outcomes.items()},
        "regions_without": {
            region.name: found.problem
            for region, found in zip(plan.regions, plan.descriptions, strict=True)
            if found.problem is not None
        },
    }


def write_regions_report(path: Path) -> Path:
    """Write ``REGIONS/report.html`` from the files of the folder alone.

    Raises
    ------
    RunFolderError
        When the folder holds no plan.
    OutputError
        When the page cannot be written.
    """
    folder = RegionsFolder(path)
    plan, skill = folder.plan(), _skill(folder)
    outcomes = folder.outcomes(plan)
    try:
        draw_regions(folder)
    except MissingDependencyError as problem:
        console.warn(f"without figures: {problem}")
    page = path / "report.html"
    parts = [f"<h1>{escape(path.name)}: {len(plan.regions)} regions</h1>", *_parts(folder, skill)]
    parts += ["<h2>Regions</h2>", _html_table(*region_rows(plan, outcomes, skill))]
    parts += ["<h2>What the data tell of them</h2>", _descriptions(plan)]
    text = "<!doctype html><html><head><meta charset='utf-8'><style>" + STYLE + "</style></head>"
    with atomic_output(page) as aside:
        aside.write_text(f"{text}<body>{''.join(parts)}</body></html>\n", encoding="utf-8")
    return page


def _parts(folder: RegionsFolder, skill: str) -> Iterator[str]:
    plan = folder.plan()
    outcomes = folder.outcomes(plan)
    failures = folder.read_json(FAILURES) if (folder.path / FAILURES).is_file() else {}
    for name, problem in failures.items():
        yield f"<p><b>{escape(name)}</b> failed: {escape(str(problem))}</p>"
    yield figure(folder.figures / "clusters.png", CAPTIONS["clusters"], "regions fit CONFIG")
    results = compare_schemes(plan, outcomes)
    if len(plan.schemes) > 1 and results:
        yield "<h2>Schemes of transfer</h2>" + _html_table(*scheme_rows(results, skill))
        yield "".join(f"<p>{escape(line)}</p>" for line in _aligned_lines(plan, outcomes))
        yield figure(folder.figures / "schemes.png", CAPTIONS["schemes"], "regions evaluate CONFIG")
    else:
        yield missing("No comparison of schemes.", "regions evaluate CONFIG")


def _descriptions(plan: Plan) -> str:
    names = list(plan.descriptions[0].features)
    rows: list[list[object]] = [
        [region.name, *(_known(found.features[name]) for name in names)]
        for region, found in zip(plan.regions, plan.descriptions, strict=True)
    ]
    return _html_table(["region", *names], rows)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _html_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return table(header, [list(map(_cell, row)) for row in rows])


def _cell(value: object) -> str:
    return number(value) if value is None or isinstance(value, float) else str(value)


def _skill(folder: RegionsFolder) -> str:
    return SKILLS[folder.config()[1].task]
