"""How good is a model? ``python benchmarks/kept_results.py RUN``.

Trains nothing: reads the scores that ``hvd-nowcast evaluate`` or ``regions evaluate`` left in a
folder of `RUNS`, where README's commands and ``launch/demo.sh`` put them, and sets each against
what is wanted. Where a run is not there, tells the command that makes it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from figures import Figure, power_ratio, publish

RUNS = Path(__file__).parents[1] / "runs"
# Wanted of the transfer between regions: times faster per model and in all, skill of scratch.
FASTER_EACH, FASTER_ALL, SKILL = 5.3, 3.0, 0.99
BASELINES = ("persistence", "linear", "lstm")
Scores = dict[str, dict]


def ahead(title: str, ratios: Sequence[float]) -> Figure:
    """Ahead everywhere: the worst ratio must be above 1."""
    return Figure(f"{title}, worst", min(ratios), min(ratios), max(ratios), at_least=1.0)


def rain(name: str, against: str, since: int, minutes: Sequence[int], found: Scores) -> Figure:
    """CSI at 1 mm/h over that of a simpler forecast; at some lead times, or at all since one."""
    ours, theirs = (found["scores"][source]["csi"]["1.0"] for source in ("model", against))
    wanted = minutes or [lead for lead in found["lead_minutes"] if lead >= since]
    leads = [found["lead_minutes"].index(lead) for lead in wanted]
    when = " and ".join(map(str, minutes)) if minutes else f"from {since}"
    title = f"{name}: CSI at 1 mm/h over {against.replace('_', ' ')}, {when} min"
    return ahead(title, [ours[lead] / theirs[lead] for lead in leads])


def sharpness(name: str, wavelength_km: int, minutes: int, found: Scores) -> Figure:
    """Power of the forecast over that observed."""
    ratio = power_ratio(found, wavelength_km, minutes)
    title = f"{name}: power at {wavelength_km} km over observed, {minutes} min"
    return Figure(title, ratio, ratio, ratio, at_least=0.5)


def rain_error(name: str, since: int, found: Scores) -> Figure:
    """MAE of optical flow over ours."""
    ours, theirs = (found["scores"][source]["mae"]["all"] for source in ("model", "optical_flow"))
    leads = [row for row, lead in enumerate(found["lead_minutes"]) if lead >= since]
    ratios = [theirs[lead] / ours[lead] for lead in leads]
    return ahead(f"{name}: MAE of optical flow over ours, from {since} min", ratios)


def river(name: str, found: Scores) -> Figure:
    """What NSE lacks to 1, of the best baseline over ours: above 1 where ours is the better."""
    lacks = {
        source: [1 - nse for nse in found["scores"][source]["nse"]["median"]]
        for source in ("model", *BASELINES)
    }
    best = [min(others) for others in zip(*(lacks[source] for source in BASELINES), strict=True)]
    ratios = [theirs / ours for theirs, ours in zip(best, lacks["model"], strict=True)]
    return ahead(f"{name}: 1 - NSE of the best baseline over ours, lead times", ratios)


def cover(name: str, metric: str, found: Scores) -> Figure:
    """Over the random forest."""
    value = found["scores"]["model"][metric] / found["scores"]["random_forest"][metric]
    title = f"{name}: {metric.replace('_', ' ')} over a random forest"
    return Figure(title, value, value, value, at_least=1.0)


def transfer(name: str, found: Scores) -> list[Figure]:
    """Of the schemes that keep the skill of scratch, else of all, the one that is the fastest."""
    learnt = [one for one in found["schemes"] if one["processor"]["faster"]]
    skilled = [one for one in learnt if one["skill_ratio"] >= SKILL]
    best = max(skilled or learnt, key=lambda one: one["processor"]["faster"][1])
    low, middle, high = best["processor"]["faster"]
    whole, skill = best["processor"]["total_faster"], best["skill_ratio"]
    title = f"{name}, scheme `{best['scheme']}`:"
    return [
        Figure(f"{title} times faster per model", middle, low, high, FASTER_EACH),
        Figure(f"{title} times faster in all", whole, whole, whole, FASTER_ALL),
        Figure(f"{title} {found['skill']} of scratch", skill, skill, skill, SKILL),
    ]


# What is read from the scores of a run in the folder of that name, and the command that makes it.
FIGURES: dict[str, Callable[[Scores], list[Figure]]] = {
    "demo": lambda found: [
        rain("demo", "persistence", 10, (), found),
        rain("demo", "optical_flow", 0, (30, 60), found),
        rain("demo", "optical_flow", 10, (), found),
        sharpness("demo", 8, 60, found),
    ],
    "nowcast_dwd": lambda found: [
        rain("DWD radar", "optical_flow", 15, (), found),
        rain_error("DWD radar", 15, found),
    ],
    "flood_fraser": lambda found: [river("Fraser", found)],
    "flood_delaware": lambda found: [river("Delaware, median of gauges", found)],
    "landcover_raleigh": lambda found: [
        cover("Raleigh", "accuracy", found),
        cover("Raleigh", "mean_recall", found),
    ],
    "regions_dwd": partial(transfer, "regions of DWD radar"),
    "regions_raleigh": partial(transfer, "blocks of Raleigh"),
    "regions_delaware": partial(transfer, "basins of the Delaware"),
}
MADE_BY = {
    "demo": "launch/demo.sh",
    **{
        name: f"train and evaluate configs/{name}.yaml"
        for name in ("nowcast_dwd", "flood_fraser", "flood_delaware", "landcover_raleigh")
    },
    **{
        name: f"regions evaluate configs/{name}.yaml"
        for name in ("regions_dwd", "regions_raleigh", "regions_delaware")
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", choices=FIGURES)
    run = parser.parse_args().run
    scores = RUNS / run / "scores.json"
    if not scores.is_file():
        sys.exit(f"{scores} is not there. It is made by: {MADE_BY[run]}")
    publish(run, FIGURES[run](json.loads(scores.read_text())))


if __name__ == "__main__":
    main()
