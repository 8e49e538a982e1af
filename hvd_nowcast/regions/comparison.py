"""Schemes beside each other: what they cost, and how good their models are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hvd_nowcast.regions.folder import ModelOutcome, Plan
from hvd_nowcast.regions.scores import RegionScore, pooled_skill
from hvd_nowcast.regions.transfer import (
    ALIGNED,
    SCRATCH,
    SIMILAR,
    models_of,
    serving_model,
)

# Schemes that need what the data tell of a region.
DESCRIBED = (SIMILAR, ALIGNED)
Spread = tuple[float, float, float]


@dataclass(frozen=True)
class SchemeCost:
    """What a scheme takes on one rank, by the clock or in processor seconds.

    Attributes
    ----------
    model
        Median of a dependent model, of one from scratch where there is none.
    faster
        Quartiles and median of scratch over dependent model, region by region.
    total
        All models, their sources, descriptors and clusters, and the network built once.
    total_faster
        Total from scratch over that.
    """

    model: float
    faster: Spread | None
    total: float
    total_faster: float


@dataclass(frozen=True)
class SchemeResult:
    """A scheme beside training every region from scratch.

    Attributes
    ----------
    scheme
        Its name.
    models, dependants
        Models that are trained in all, and those that start from a source.
    reached
        Dependants whose validation loss became as low as from scratch.
    steps
        Median updates of a dependant.
    clock, processor
        Costs.
    skill
        Of all regions together, on the test split.
    skill_ratio
        That over the one from scratch.
    loss_ratio
        Quartiles and median of the test loss over the one from scratch, region by region.
    """

    scheme: str
    models: int
    dependants: int
    reached: int
    steps: float
    clock: SchemeCost
    processor: SchemeCost
    skill: float | None
    skill_ratio: float | None
    loss_ratio: Spread | None


def compare_schemes(plan: Plan, outcomes: Mapping[str, ModelOutcome]) -> list[SchemeResult]:
    """Compare all schemes on the regions whose models are all there.

    Parameters
    ----------
    plan
        With several schemes.
    outcomes
        By name of the model; models that failed are absent.
    """
    planned = plan.by_name()
    regions = [
        region.name
        for region in plan.usable
        if all(
            name in outcomes for s in plan.schemes for name in models_of(s, [region.name], planned)
        )
    ]
    return [_compare(scheme, regions, plan, outcomes) for scheme in plan.schemes if regions]


def _compare(
    scheme: str, regions: Sequence[str], plan: Plan, outcomes: Mapping[str, ModelOutcome]
) -> SchemeResult:
    planned = plan.by_name()
    serving = {region: serving_model(scheme, region, planned) for region in regions}
    scratch = {region: outcomes[f"{SCRATCH}/{region}"] for region in regions}
    mine = {region: outcomes[name] for region, name in serving.items()}
    dependants = [region for region in regions if planned[serving[region]].source is not None]
    skills = [_pooled(found.values()) for found in (mine, scratch)]
    both = [(mine[r].loss, scratch[r].loss) for r in dependants if scratch[r].loss > 0]
    return SchemeResult(
        scheme,
        len(models_of(scheme, regions, planned)),
        len(dependants),
        sum(mine[r].best_loss <= scratch[r].best_loss for r in dependants),
        float(np.median([mine[r].steps for r in dependants or regions])),
        _cost("seconds", scheme, regions, dependants, plan, outcomes),
        _cost("processor_seconds", scheme, regions, dependants, plan, outcomes),
        skills[0],
        skills[0] / skills[1] if skills[0] is not None and skills[1] else None,
        spread([a / b for a, b in both]) if both else None,
    )


def _cost(
    unit: str,
    scheme: str,
    regions: Sequence[str],
    dependants: Sequence[str],
    plan: Plan,
    outcomes: Mapping[str, ModelOutcome],
) -> SchemeCost:
    planned = plan.by_name()

    def took(name: str) -> float:
        return float(getattr(outcomes[name], unit))

    def total(which: str) -> float:
        described = getattr(plan, unit) if which in DESCRIBED else 0.0
        built = max(float(getattr(found, f"bench_{unit}")) for found in outcomes.values())
        return described + built + sum(map(took, models_of(which, regions, planned)))

    own = [took(serving_model(scheme, region, planned)) for region in dependants or regions]
    scratch = [took(f"{SCRATCH}/{region}") for region in dependants]
    faster = spread([a / b for a, b in zip(scratch, own, strict=True)]) if dependants else None
    every = total(scheme)
    return SchemeCost(float(np.median(own)), faster, every, total(SCRATCH) / every)


def aligned_against(plan: Plan, outcomes: Mapping[str, ModelOutcome]) -> dict[str, Any]:
    """The aligned scheme beside each other one, region by region.

    Returns
    -------
    dict
        By scheme: quartiles and median of the processor seconds and of the test loss of the
        aligned model over those of the other, where both have learnt from a source; and in how
        many of so many regions its loss is lower.
    """
    planned = plan.by_name()
    found: dict[str, Any] = {}
    for scheme in plan.schemes:
        pairs = []
        for region in plan.usable:
            mine, other = (serving_model(s, region.name, planned) for s in (ALIGNED, scheme))
            if mine in outcomes and other in outcomes and mine != other:
                pairs.append((outcomes[mine], outcomes[other]))
        if scheme == ALIGNED or not pairs:
            continue
        found[scheme] = {
            "processor": spread([a.processor_seconds / b.processor_seconds for a, b in pairs]),
            "loss": spread([a.loss / b.loss for a, b in pairs if b.loss > 0] or [1.0]),
            "better": sum(a.loss < b.loss for a, b in pairs),
            "regions": len(pairs),
        }
    return found


def scratch_until_best(plan: Plan, outcomes: Mapping[str, ModelOutcome]) -> Spread | None:
    """Share of their steps after which models from scratch were at their best, quartiles."""
    names = (f"{SCRATCH}/{region.name}" for region in plan.usable)
    found = [outcomes[name] for name in names if name in outcomes]
    return spread([o.best_step / max(1, o.steps) for o in found]) if found else None


def spread(values: Sequence[float]) -> Spread:
    """Lower quartile, median, upper quartile."""
    low, middle, high = np.percentile(values, (25, 50, 75)).tolist()
    return low, middle, high


def _pooled(outcomes: Any) -> float | None:
    return pooled_skill([RegionScore(o.skill, o.loss, tuple(o.counts)) for o in outcomes])


def scheme_rows(
    results: Sequence[SchemeResult], skill: str
) -> tuple[list[str], list[list[object]]]:
    """Header and rows of the comparison.

    Parameters
    ----------
    results
        Of `compare_schemes`.
    skill
        What the skill is called.
    """
    header = ["scheme", "models", "dependent", "reached", "steps"]
    header += ["s each", "faster", "s in all", "faster"]
    header += ["cpu s each", "faster", "cpu s in all", "faster"]
    header += [skill, "of scratch", "test loss of scratch"]
    rows: list[list[object]] = [
        [
            r.scheme,
            r.models,
            r.dependants,
            r.reached if r.dependants else None,
            f"{r.steps:g}",
            *_cost_cells(r.clock),
            *_cost_cells(r.processor),
            r.skill,
            r.skill_ratio,
            _spread_cell(r.loss_ratio, 3),
        ]
        for r in results
    ]
    return header, rows


def _cost_cells(cost: SchemeCost) -> list[str]:
    return [
        f"{cost.model:.2f}",
        _spread_cell(cost.faster, 1),
        f"{cost.total:.0f}",
        f"{cost.total_faster:.2f}",
    ]


def _spread_cell(values: Spread | None, digits: int) -> str:
    if values is None:
        return "-"
    low, middle, high = (f"{value:.{digits}f}" for value in values)
    return f"{middle} ({low}-{high})"
