"""What the bands and labels of a scene tell of a part of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.config import RegionSection
from hvd_nowcast.loader.region import mask_of, slices_of
from hvd_nowcast.regions.similarity import Description
from hvd_nowcast.shards.scene import SceneReader

# Labelled pixels that each split of a region needs at least.
LEAST_PIXELS = 8
SPLITS = {1: "train", 2: "validation"}


def describe_scene(
    reader: SceneReader, regions: Sequence[RegionSection], modalities: Sequence[str] | None
) -> list[Description]:
    """Describe parts of a scene by the bands and labels of their training pixels.

    Parameters
    ----------
    reader
        The scene.
    regions
        Inside it.
    modalities
        That are looked at; all when None.
    """
    names = list(modalities or reader.manifest.modalities)
    km = reader.manifest.spacing / 1000.0
    return [_describe(reader, region, names, km) for region in regions]


def _describe(
    reader: SceneReader, region: RegionSection, names: Sequence[str], km: float
) -> Description:
    rows, columns = slices_of(region)
    inside = mask_of(region)
    labels = np.where(inside, reader.labels[rows, columns], 0)
    split = reader.split[rows, columns]
    train = inside & (split == 1)
    features: dict[str, float] = {}
    side = max(inside.shape)
    for name in names:
        window = reader.window(name, rows.start, columns.start, side)
        bands = window[: inside.shape[0], : inside.shape[1]].astype(np.float64)
        for band in range(bands.shape[-1]):
            features |= _band(f"{name} {band + 1}", bands[..., band], train)
    labelled = labels[train & (labels > 0)]
    for number, name in enumerate(reader.manifest.classes, 1):
        features[f"share of {name}"] = (
            float((labelled == number).mean()) if len(labelled) else np.nan
        )
    position = (km * (rows.start + rows.stop) / 2, km * (columns.start + columns.stop) / 2)
    return Description(position, features, problem=_problem(labels, split))


def _band(name: str, values: NDArray[np.float64], train: NDArray[np.bool_]) -> dict[str, float]:
    known = train & np.isfinite(values)
    if not known.any():
        return dict.fromkeys((f"{name} mean", f"{name} spread", f"{name} texture"), np.nan)
    # Texture: how much of the spread is between neighbours.
    step = np.abs(np.diff(values, axis=1))[known[:, 1:] & known[:, :-1]]
    return {
        f"{name} mean": float(values[known].mean()),
        f"{name} spread": float(values[known].std()),
        f"{name} texture": float(step.mean()) if len(step) else np.nan,
    }


def _problem(labels: NDArray[np.uint8], split: NDArray[np.uint8]) -> str | None:
    if not (labels > 0).any():
        return "no data"
    for number, name in SPLITS.items():
        count = int(((labels > 0) & (split == number)).sum())
        if count < LEAST_PIXELS:
            return f"{count} labelled pixels in the {name} split, {LEAST_PIXELS} are needed"
    if len(np.unique(labels[(labels > 0) & (split == 1)])) == 1:
        return "a single class"
    return None
