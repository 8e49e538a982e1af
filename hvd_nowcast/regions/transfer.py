"""Which models are trained, from what, in which order: plain planning, no training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.config import Config, RegionSection, StartSection, TransferSection
from hvd_nowcast.parallel.job_queue import FarmJob
from hvd_nowcast.regions.similarity import Clusters, Description, aligned_blocks

Periods = tuple[tuple[str, str], ...]
SCRATCH, GLOBAL, NEAREST, SIMILAR, ALIGNED = "scratch", "global", "nearest", "similar", "aligned"


@dataclass(frozen=True)
class PlannedModel:
    """One model to be trained.

    Attributes
    ----------
    name
        Also its folder: ``SCHEME/REGION``, or ``SCHEME/source-REGION``.
    scheme
        Which it is trained for first.
    region
        What it sees; None for all.
    source
        Name of the model it starts from.
    target
        Name of the model whose best validation loss ends it.
    turn
        Of the farm: sources come before those that learn from them.
    """

    name: str
    scheme: str
    region: RegionSection | None
    source: str | None = None
    target: str | None = None
    turn: int = 0

    @property
    def after(self) -> tuple[str, ...]:
        """Models that must be there before."""
        return tuple(name for name in dict.fromkeys((self.source, self.target)) if name)


@dataclass(frozen=True)
class Grouping:
    """Who may learn from whom.

    Attributes
    ----------
    similar, nearest
        Clusters by the descriptors, and by the place.
    periods
        Aligned time of each source among the similar, by its number; empty without a time axis.
    """

    similar: Clusters
    nearest: Clusters
    periods: Mapping[int, Periods]


def align(
    descriptions: Sequence[Description], similar: Clusters, share: float, block_hours: float
) -> dict[int, Periods]:
    """The time in which each source saw the regime of its cluster, see `aligned_blocks`."""
    found: dict[int, Periods] = {}
    for source in similar.sources:
        starts = descriptions[source].block_starts
        others = [
            _on_blocks(descriptions[number], starts)
            for number in np.flatnonzero(similar.source == source)
            if number != source
        ]
        if len(starts) > 1 and others:
            chosen = aligned_blocks(descriptions[source].regime, others, share)
            found[source] = _periods(starts, chosen, block_hours)
    return found


def _on_blocks(description: Description, starts: Sequence[str]) -> NDArray[np.float64]:
    """A regime on the blocks of another region, NaN where it has none."""
    row = {start: number for number, start in enumerate(description.block_starts)}
    regime = np.full((len(starts), description.regime.shape[-1]), np.nan)
    for number, start in enumerate(starts):
        if start in row:
            regime[number] = description.regime[row[start]]
    return regime


def _periods(starts: Sequence[str], chosen: NDArray[np.bool_], block_hours: float) -> Periods:
    length = np.timedelta64(round(3600 * block_hours), "s")
    periods: list[tuple[str, str]] = []
    for start, wanted in zip(starts, chosen, strict=True):
        if not wanted:
            continue
        end = str(np.datetime64(start, "s") + length)
        if periods and periods[-1][1] == start:
            periods[-1] = (periods[-1][0], end)
        else:
            periods.append((start, end))
    return tuple(periods)


def plan_models(
    regions: Sequence[RegionSection], schemes: Iterable[str], grouping: Grouping, compare: bool
) -> list[PlannedModel]:
    """All models of some schemes, each once.

    The source of the similar and of the nearest scheme is the model that its region has from
    scratch, so those schemes train one model less for each source. A source of the aligned scheme
    has not seen all the data of its region, and a model of the whole domain is none of a region:
    there all regions learn.

    Parameters
    ----------
    regions
        That have something to learn from.
    schemes
        Some of `hvd_nowcast.config.regions.SCHEMES`.
    grouping
        Sources of each region, by their numbers among the regions.
    compare
        All models are trained from scratch too, and end the others by their loss. Models of one
        region then follow each other, so that no scheme has the quiet hours of a machine alone.
    """
    planned: dict[str, PlannedModel] = {}

    def add(model: PlannedModel) -> str:
        planned.setdefault(model.name, model)
        return model.name

    schemes = [SCRATCH, *schemes] if compare else list(schemes)
    for scheme in dict.fromkeys(schemes):
        for number, region in enumerate(regions):
            source = _source(scheme, number, regions, grouping)
            if source is None or source.region == region:
                turn = 1 + number if compare and source is None else 0
                add(PlannedModel(f"{SCRATCH}/{region.name}", SCRATCH, region, turn=turn))
                continue
            name, target = f"{scheme}/{region.name}", f"{SCRATCH}/{region.name}"
            add(
                PlannedModel(
                    name,
                    scheme,
                    region,
                    add(source),
                    target if compare else None,
                    1 + number if compare else 1,
                )
            )
    sources = {model.source for model in planned.values()}
    return [replace(m, turn=0) if m.name in sources else m for m in planned.values()]


def _source(
    scheme: str, number: int, regions: Sequence[RegionSection], grouping: Grouping
) -> PlannedModel | None:
    if scheme == SCRATCH:
        return None
    if scheme == GLOBAL:
        return PlannedModel(f"{GLOBAL}/domain", GLOBAL, None)
    clusters = grouping.nearest if scheme == NEAREST else grouping.similar
    source = int(clusters.source[number])
    region = regions[source]
    if scheme == ALIGNED and source in grouping.periods:
        aligned = replace(region, periods=grouping.periods[source])
        return PlannedModel(f"{ALIGNED}/source-{region.name}", ALIGNED, aligned)
    return PlannedModel(f"{SCRATCH}/{region.name}", SCRATCH, region)


def serving_model(scheme: str, region: str, planned: Mapping[str, PlannedModel]) -> str:
    """Name of the model that serves a region under a scheme."""
    name = f"{scheme}/{region}"
    return name if name in planned else f"{SCRATCH}/{region}"


def models_of(
    scheme: str, regions: Iterable[str], planned: Mapping[str, PlannedModel]
) -> list[str]:
    """Names of all models that a scheme needs, sources included."""
    names: dict[str, None] = {}
    for region in regions:
        name: str | None = serving_model(scheme, region, planned)
        while name is not None:
            names[name] = None
            name = planned[name].source
    return list(names)


def model_config(
    base: Config,
    model: PlannedModel,
    folder: Path,
    transfer: TransferSection,
    target_loss: float | None,
) -> Config:
    """Configuration of the run of one model.

    Parameters
    ----------
    base
        Of a model from scratch.
    model
        Which.
    folder
        Of all models.
    transfer
        The fine-tuning.
    target_loss
        Where it ends, or None.
    """
    if model.source is None:
        return replace(base, region=model.region)
    training = replace(
        base.training,
        steps=transfer.steps,
        validate_every=transfer.validate_every,
        patience=transfer.patience,
        target_loss=target_loss,
    )
    optimiser = replace(
        base.optimiser, learning_rate=transfer.learning_rate, warmup_steps=transfer.warmup_steps
    )
    start = StartSection(str(folder / model.source), transfer.freeze)
    return replace(base, region=model.region, start=start, training=training, optimiser=optimiser)


def farm_jobs(
    models: Sequence[PlannedModel], base: Config, transfer: TransferSection
) -> list[FarmJob]:
    """The models as jobs of a farm; the cost of one is its steps."""
    return [
        FarmJob(
            model.name,
            model.after,
            model.turn,
            float(base.training.steps if model.source is None else transfer.steps),
        )
        for model in models
    ]
