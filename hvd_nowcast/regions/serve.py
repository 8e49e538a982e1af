"""The models of many regions as one: blended where regions meet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast import console
from hvd_nowcast.config import FloodConfig, LandcoverConfig, NowcastConfig, RegionSection
from hvd_nowcast.errors import InputError, RunFolderError
from hvd_nowcast.flood.predictor import FloodPredictor
from hvd_nowcast.landcover.predictor import (
    TILE,
    ClassMap,
    LandcoverPredictor,
    Windows,
    chosen_classes,
)
from hvd_nowcast.loader.region import mask_of, slices_of
from hvd_nowcast.nowcast.predictor import Predictor, edge_weight
from hvd_nowcast.regions.folder import Plan, RegionsFolder
from hvd_nowcast.regions.similarity import space_distances
from hvd_nowcast.regions.transfer import serving_model
from hvd_nowcast.shards.scene import squares
from hvd_nowcast.training.run_folder import RunFolder, TaskConfig

Array = NDArray[np.float32]

# Pixels of its neighbours that a region forecasts too, to be blended with theirs.
MARGIN = 8
# Outside its outline, the model of a region counts where there is no better one.
OUTSIDE = 1e-3


@dataclass(frozen=True)
class ServedRegion:
    """A region and the weights that serve it."""

    region: RegionSection
    weights: Path


def served_regions(folder: RegionsFolder) -> list[ServedRegion]:
    """All regions with the weights of their own model, or of the nearest region that has one.

    Raises
    ------
    RunFolderError
        When no model is trained yet.
    """
    plan = folder.plan()
    planned = plan.by_name()
    weights = {}
    for number, region in zip(plan.numbers, plan.usable, strict=True):
        path = folder.run(serving_model(plan.serving, region.name, planned)).best_weights
        if path.exists():
            weights[number] = path
    if not weights:
        raise RunFolderError(f"{folder.path}: no model is trained yet. Continue with --resume")
    lacking = [plan.regions[n].name for n in range(len(plan.regions)) if n not in weights]
    if lacking:
        names = ", ".join(lacking[:8])
        console.warn(f"regions without a model are served by the nearest that has one: {names}")
    owner = nearest_owner(plan, sorted(weights))
    return [ServedRegion(r, weights[owner[n]]) for n, r in enumerate(plan.regions)]


def nearest_owner(plan: Plan, owners: list[int]) -> list[int]:
    """Number of the nearest region with a model, for each region."""
    distance = space_distances(plan.descriptions)[:, owners]
    return [owners[place] for place in distance.argmin(1)]


def first_run(served: Sequence[ServedRegion], kind: type[TaskConfig]) -> Path:
    """Run folder of the first region, whose network is that of all.

    Raises
    ------
    RunFolderError
        When it is of another task.
    """
    run = RunFolder(served[0].weights.parents[1], writable=False)
    run.config_of(kind)
    return run.path


def domain_shape(folder: RegionsFolder) -> tuple[int, int]:
    """Rows and columns that the regions were cut out of."""
    rows, columns = folder.domain.read_json("data.json")["grid_shape"]
    return rows, columns


def joint_fingerprint(served: Iterable[ServedRegion]) -> str:
    """SHA-256 over the weights of all models."""
    digest = hashlib.sha256()
    for part in served:
        digest.update(part.weights.read_bytes())
    return digest.hexdigest()


def blending_weight(region: RegionSection, shape: tuple[int, int]) -> tuple[slice, slice, Array]:
    """Rows and columns of a region with its margin, and its weight there, shape (rows, columns)."""
    inner = slices_of(region)
    rows, columns = (
        slice(max(0, part.start - MARGIN), min(size, part.stop + MARGIN))
        for part, size in zip(inner, shape, strict=True)
    )
    weight = edge_weight(rows, shape[0], 2 * MARGIN)[:, None] * edge_weight(
        columns, shape[1], 2 * MARGIN
    )
    if region.outline is not None:
        wide = replace(region, bounds=(rows.start, rows.stop, columns.start, columns.stop))
        weight = np.where(mask_of(wide), weight, OUTSIDE * weight)
    return rows, columns, weight


class RegionalNowcast:
    """The nowcast of many regions; to `make_forecast` it is like one model.

    Parameters
    ----------
    predictor
        Its network, whose weights change from region to region.
    served
        The regions.
    shape
        Rows and columns of the domain.
    """

    def __init__(
        self, predictor: Predictor, served: list[ServedRegion], shape: tuple[int, int]
    ) -> None:
        self._predictor, self._served, self._shape = predictor, served, shape
        self.frames_in, self.frames_out = predictor.frames_in, predictor.frames_out
        self.step_seconds, self.quantity = predictor.step_seconds, predictor.quantity
        self.grid_spacing = predictor.grid_spacing
        self.fingerprint = joint_fingerprint(served)

    def forecast(self, frames: Array) -> Array:
        """Physical frames (frames_in, y, x), NaN where missing, to (frames_out, y, x).

        Raises
        ------
        InputError
            When the frames are not of the domain.
        """
        _require_domain(frames.shape[1:], self._shape)
        total = np.zeros((self.frames_out, *self._shape), np.float32)
        weights = np.zeros(self._shape, np.float32)
        for part in self._served:
            rows, columns, weight = blending_weight(part.region, self._shape)
            self._predictor.take_weights(part.weights)
            total[:, rows, columns] += weight * self._predictor.forecast(frames[:, rows, columns])
            weights[rows, columns] += weight
        # Where polygons leave a gap there is no forecast.
        weights[weights == 0] = np.nan
        return total / weights


def load_regional_nowcast(path: Path) -> RegionalNowcast:
    """Read a folder of many nowcast models.

    Raises
    ------
    RunFolderError
        When it is none, or has no model yet.
    """
    folder = RegionsFolder(path)
    served = served_regions(folder)
    run = first_run(served, NowcastConfig)
    return RegionalNowcast(Predictor.load(run), served, domain_shape(folder))


class RegionalFlood(FloodPredictor):
    """The flood models of many gauges, each asked for its own."""

    _served: dict[str, Path]

    @classmethod
    def load(cls, run_folder: str | Path, shards: Path | None = None) -> RegionalFlood:
        """Read a folder of many flood models.

        Raises
        ------
        RunFolderError
            When it is none, or has no model yet.
        """
        served = served_regions(RegionsFolder(run_folder))
        alone = FloodPredictor.load(first_run(served, FloodConfig), shards)
        many = cls(alone.config, alone.data, alone.network, joint_fingerprint(served))
        many._served = {str(part.region.gauge): part.weights for part in served}
        return many

    def predict(self, batch: dict[str, Any]) -> NDArray[np.float64]:
        """Discharge in m3/s of a batch of samples, shape (b, leads, quantiles)."""
        gauges = np.asarray(batch["gauge"])
        parts: dict[int, NDArray[np.float64]] = {}
        for gauge in np.unique(gauges):
            self.take_weights(self._served[self.data.watershed.gauges[gauge]])
            mine = np.flatnonzero(gauges == gauge)
            found = super().predict({name: values[mine] for name, values in batch.items()})
            parts |= dict(zip(mine.tolist(), found, strict=True))
        return np.stack([parts[place] for place in range(len(gauges))])


class RegionalLandcover(LandcoverPredictor):
    """The land-cover models of many parts of one scene."""

    _served: list[ServedRegion]
    _shape: tuple[int, int]

    @classmethod
    def load(cls, run_folder: str | Path) -> RegionalLandcover:
        """Read a folder of many land-cover models.

        Raises
        ------
        RunFolderError
            When it is none, or has no model yet.
        """
        folder = RegionsFolder(run_folder)
        served = served_regions(folder)
        one = LandcoverPredictor.load(first_run(served, LandcoverConfig))
        fingerprint = joint_fingerprint(served)
        many = cls(one.config, one.classes, one.scaling, one._network, fingerprint)
        many._served, many._shape = served, domain_shape(folder)
        return many

    def map(self, scene: Windows, shape: tuple[int, int], hidden: Iterable[str] = ()) -> ClassMap:
        """Map the whole scene; probabilities are blended where regions meet."""
        _require_domain(shape, self._shape)
        total = np.zeros((*shape, len(self.classes)), np.float32)
        known = np.zeros(shape, bool)
        for part in console.progress(self._served, "mapping", len(self._served), "region"):
            rows, columns, weight = blending_weight(part.region, shape)
            self.take_weights(part.weights)
            for inside, outside in _tiles(rows, columns):
                found, seen = self.probabilities(
                    scene, outside[0].start, outside[1].start, list(hidden)
                )
                height, width = (p.stop - p.start for p in outside)
                total[outside] += weight[inside][..., None] * found[:height, :width]
                known[outside] |= seen[:height, :width]
        share = total.sum(-1, keepdims=True)
        known &= share[..., 0] > 0
        return chosen_classes(
            np.divide(total, share, out=np.zeros_like(total), where=share > 0), known
        )


def _tiles(
    rows: slice, columns: slice
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Tiles of a part of the scene: where they lie in the part, and in the scene."""
    shape = rows.stop - rows.start, columns.stop - columns.start
    for top, left in squares(shape, TILE):
        inside = slice(top, min(top + TILE, shape[0])), slice(left, min(left + TILE, shape[1]))
        outside = (
            slice(rows.start + inside[0].start, rows.start + inside[0].stop),
            slice(columns.start + inside[1].start, columns.start + inside[1].stop),
        )
        yield inside, outside


def _require_domain(shape: tuple[int, ...], domain: tuple[int, int]) -> None:
    if tuple(shape) != domain:
        raise InputError(
            "input",
            f"has {shape[0]} x {shape[1]} pixels, the regions were cut out of {domain[0]} x "
            f"{domain[1]}",
            "Give the domain of the training, or train one model with hvd-nowcast train",
        )


__all__ = ["RegionalFlood", "RegionalLandcover", "load_regional_nowcast", "served_regions"]
