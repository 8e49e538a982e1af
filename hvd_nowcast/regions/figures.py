"""What of a folder of many models is drawn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.config import RegionSection
from hvd_nowcast.plots.regions import RegionShape, save_cluster_figure, save_scheme_figure
from hvd_nowcast.regions.folder import ModelOutcome, Plan, RegionsFolder
from hvd_nowcast.regions.similarity import LINKAGE, feature_distances
from hvd_nowcast.regions.transfer import SCRATCH, serving_model


def draw_regions(folder: RegionsFolder) -> list[str]:
    """Draw all there is; paths of the figures.

    Raises
    ------
    MissingDependencyError
        When matplotlib or SciPy is not installed.
    OutputError
        When a file cannot be written.
    """
    plan = folder.plan()
    known = [plan.descriptions[number] for number in plan.numbers]
    paths = [
        save_cluster_figure(region_shapes(plan), feature_distances(known), LINKAGE, folder.figures)
    ]
    panels = scheme_panels(plan, folder.outcomes(plan))
    if any(values for panel in panels.values() for values in panel.values()):
        paths.append(save_scheme_figure(panels, folder.figures))
    return [str(path) for path in paths]


def region_shapes(plan: Plan) -> list[RegionShape]:
    """Regions with their clusters and corners."""
    place = {number: row for row, number in enumerate(plan.numbers)}
    sources = {plan.numbers[row] for row in plan.grouping.similar.sources}
    shapes = []
    for number, (region, description) in enumerate(
        zip(plan.regions, plan.descriptions, strict=True)
    ):
        row = place.get(number)
        cluster = None if row is None else int(plan.grouping.similar.label[row])
        shapes.append(
            RegionShape(
                region.name,
                description.position,
                _corners(region, description.position),
                cluster,
                number in sources,
            )
        )
    return shapes


def _corners(region: RegionSection, position: tuple[float, float]) -> NDArray[np.float64] | None:
    if region.bounds is None:
        return None
    top, bottom, left, right = region.bounds
    # The centre is known in km and in pixels.
    km = position[0] / ((top + bottom) / 2)
    if region.outline is not None:
        return km * (np.array(region.outline) + 0.5)
    return km * np.array([[top, left], [top, right], [bottom, right], [bottom, left]], float)


def scheme_panels(
    plan: Plan, outcomes: Mapping[str, ModelOutcome]
) -> dict[str, dict[str, list[float]]]:
    """Dependent models relative to scratch, by scheme: how much faster, and their test loss."""
    planned = plan.by_name()
    faster: dict[str, list[float]] = {}
    loss: dict[str, list[float]] = {}
    for scheme in plan.schemes:
        if scheme == SCRATCH:
            continue
        faster[scheme], loss[scheme] = [], []
        for region in plan.usable:
            name = serving_model(scheme, region.name, planned)
            mine, scratch = outcomes.get(name), outcomes.get(f"{SCRATCH}/{region.name}")
            if mine is None or scratch is None or planned[name].source is None:
                continue
            faster[scheme].append(scratch.processor_seconds / mine.processor_seconds)
            if scratch.loss > 0:
                loss[scheme].append(mine.loss / scratch.loss)
    return {
        "processor seconds, scratch over model": faster,
        "test loss, model over scratch": loss,
    }
