"""Cut, describe, cluster, then train all models on the ranks there are."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hvd_nowcast import console
from hvd_nowcast.config import (
    Config,
    FloodConfig,
    RegionsConfig,
    load_config,
    load_regions_config,
)
from hvd_nowcast.config.regions import SCHEMES
from hvd_nowcast.errors import ConfigError, HvdNowcastError
from hvd_nowcast.parallel.farm import Farm, open_farm
from hvd_nowcast.parallel.job_queue import FarmJob, Outcome, ideal_seconds
from hvd_nowcast.parallel.launcher import find_launch
from hvd_nowcast.regions.domain import look_at_regions, usable
from hvd_nowcast.regions.folder import FAILURES, FARM, PLAN, Plan, RegionsFolder
from hvd_nowcast.regions.similarity import feature_distances, find_clusters, space_distances
from hvd_nowcast.regions.transfer import (
    ALIGNED,
    SIMILAR,
    Grouping,
    align,
    farm_jobs,
    plan_models,
)


def train_regions(
    config_file: Path, folder: Path, compare: bool, overrides: Sequence[str], resume: bool
) -> RegionsFolder | None:
    """Train the models of all regions on all ranks that were launched.

    Parameters
    ----------
    config_file
        YAML of the regions.
    folder
        Of all models.
    compare
        Every scheme, and each model from scratch, instead of the configured scheme alone.
    overrides
        ``section.key=value`` for the configuration of the regions.
    resume
        Leave out what is finished.

    Returns
    -------
    RegionsFolder or None
        On rank 0; None on the others.

    Raises
    ------
    HvdNowcastError
        When no model at all could be trained.
    """
    if find_launch(os.environ).rank > 0:
        # The others import TensorFlow while rank 0 looks at the data.
        import_module("hvd_nowcast.regions.work")
    with open_farm() as farm:
        if farm is None:
            return None
        regions = RegionsFolder(folder)
        config = load_regions_config(config_file, overrides)
        base = load_config(config.base, config.overrides)
        regions.start(config, base, resume)
        plan = _planned(regions, config, base, compare)
        jobs = farm_jobs(plan.models, base, config.transfer)
        finished = list(regions.outcomes(plan))
        _train(regions, farm, jobs, finished)
        return regions


def _train(
    regions: RegionsFolder, farm: Farm, jobs: Sequence[FarmJob], finished: Sequence[str]
) -> None:
    from hvd_nowcast.regions.work import train_model

    bar: tqdm[Any] = console.progress(None, "models", len(jobs), "model", len(finished))
    failures: dict[str, str] = {}

    def report(outcome: Outcome) -> None:
        bar.update()
        if outcome.problem is not None:
            failures[outcome.name] = outcome.problem
            console.warn(f"no model {outcome.name}: {outcome.problem}")
        elif outcome.first_problem is not None:
            console.warn(f"model {outcome.name} is from a second try: {outcome.first_problem}")

    started = time.perf_counter()
    with bar:
        outcomes = farm.run(jobs, finished, partial(train_model, str(regions.path)), report)
    regions.write_json(FAILURES, failures)
    if outcomes:
        regions.write_json(FARM, _farm_facts(farm, jobs, outcomes, time.perf_counter() - started))
    if len(failures) == len(jobs):
        name, problem = next(iter(failures.items()))
        raise HvdNowcastError(f"{regions.path}: no model could be trained; {name}: {problem}")


def _farm_facts(
    farm: Farm, jobs: Sequence[FarmJob], outcomes: Sequence[Outcome], seconds: float
) -> dict[str, Any]:
    """What the farm took, and the least it could have taken with its network built on each rank."""
    done = [outcome for outcome in outcomes if outcome.result is not None]
    built = [float(outcome.result["bench_seconds"]) for outcome in done if outcome.result]
    took = {o.name: o.seconds - b for o, b in zip(done, built, strict=True)}
    mine = [job for job in jobs if job.name in took]
    start = max(built, default=0.0)
    return {
        "ranks": farm.ranks,
        "seconds": seconds,
        "start_seconds": start,
        "ideal_seconds": start + ideal_seconds(mine, took, [1.0] * farm.ranks),
        "jobs": took,
    }


def _planned(regions: RegionsFolder, config: RegionsConfig, base: Config, compare: bool) -> Plan:
    schemes = SCHEMES if compare else (config.transfer.scheme,)
    if (regions.path / PLAN).is_file():
        plan = regions.plan()
        if (len(plan.schemes) > 1) != compare:
            made = "evaluate" if len(plan.schemes) > 1 else "fit"
            raise ConfigError(f"{regions.path}: was made by regions {made}; choose another --run")
        return plan
    plan = make_plan(config, base, schemes, compare)
    _open_domain(regions, base, plan)
    regions.save_plan(plan)
    return plan


def make_plan(config: RegionsConfig, base: Config, schemes: tuple[str, ...], compare: bool) -> Plan:
    """Cut, describe and cluster, and decide which models are trained.

    Raises
    ------
    ConfigError
        When there is nothing to learn from anywhere.
    """
    started = time.perf_counter(), time.process_time()
    found, descriptions = look_at_regions(config, base)
    numbers = usable(descriptions)
    for region, description in zip(found, descriptions, strict=True):
        if description.problem is not None:
            console.warn(f"region {region.name} gets no model of its own: {description.problem}")
    if not numbers:
        raise ConfigError("no region has anything to learn from; see the warnings above")
    known = [descriptions[number] for number in numbers]
    sources = config.similarity.sources
    similar = find_clusters(feature_distances(known), sources)
    nearest = find_clusters(space_distances(known), sources)
    if len(similar.sources) < min(sources, len(known)):
        console.warn(
            f"{len(similar.sources)} clusters instead of {sources}: regions have the same "
            "descriptors"
        )
    hours = config.similarity.block_hours
    grouping = Grouping(
        similar, nearest, align(known, similar, config.transfer.aligned_share, hours)
    )
    if ALIGNED in schemes and not grouping.periods:
        console.warn("the data have a single time: the aligned scheme is the similar one")
        schemes = tuple(s for s in schemes if s != ALIGNED) if compare else (SIMILAR,)
    wanted = config.transfer.scheme
    chosen = [found[number] for number in numbers]
    models = plan_models(chosen, schemes, grouping, compare)
    return Plan(
        tuple(found),
        tuple(descriptions),
        tuple(numbers),
        grouping,
        tuple(models),
        schemes,
        wanted if wanted in schemes else SIMILAR,
        time.perf_counter() - started[0],
        time.process_time() - started[1],
    )


def _open_domain(regions: RegionsFolder, base: Config, plan: Plan) -> None:
    """Fit the scaling that all models share."""
    from hvd_nowcast.training.tasks import open_task

    if isinstance(base, FloodConfig):
        base = plan_gauges(base, plan)
    domain = regions.prepare_domain(base)
    open_task(base, domain).close()


def plan_gauges(base: FloodConfig, plan: Plan) -> FloodConfig:
    """The configuration with the gauges alone that have something to learn from."""
    gauges = tuple(str(region.gauge) for region in plan.usable)
    return replace(base, data=replace(base.data, gauges=gauges))
