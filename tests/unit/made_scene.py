"""A small scene for tests: two modalities, three classes that need both, and unseen edges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import yaml

from hvd_nowcast.config import LandcoverConfig, load_config
from hvd_nowcast.grid import Grid
from hvd_nowcast.shards.convert.scene import open_scene
from hvd_nowcast.shards.scene import Scene, write_scene

ROWS, COLUMNS = 96, 80
CLASSES = ("water", "meadow", "forest")
Edit = Callable[[netCDF4.Dataset], None]


def smooth(generator: np.random.Generator, scale: int) -> Any:
    """A field of patches of about ``scale`` pixels."""
    coarse = generator.normal(size=(ROWS // scale + 2, COLUMNS // scale + 2))
    field = coarse.repeat(scale, 0).repeat(scale, 1)
    return field[:ROWS, :COLUMNS]


def make_scene(seed: int = 0) -> tuple[Any, Any, Any]:
    """Optical bands (3, y, x), height (y, x) and labels (y, x)."""
    generator = np.random.default_rng(seed)
    green, height = smooth(generator, 6), smooth(generator, 9)
    labels = np.where(green < -0.3, 1, np.where(height > 0.0, 3, 2)).astype(np.uint8)
    noise = generator.normal(size=(3, ROWS, COLUMNS))
    optical = 100.0 + 20.0 * (np.stack([green, -green, 0.0 * green]) + 0.5 * noise)
    optical[:, :, :5] = np.nan
    labels[:4] = 0
    return optical, 300.0 + 50.0 * height, labels


def write_scene_file(path: Path, edit: Edit | None = None) -> Path:
    """A netCDF file as users have it; ``edit`` spoils it."""
    optical, height, labels = make_scene()
    height = np.where(np.isnan(optical[0]), np.nan, height)
    with netCDF4.Dataset(path, "w") as dataset:
        for name, size in (("band", 3), ("y", ROWS), ("x", COLUMNS)):
            dataset.createDimension(name, size)
        for name, values in (
            ("y", 5e6 - 30.0 * np.arange(ROWS)),
            ("x", 4e5 + 30.0 * np.arange(COLUMNS)),
        ):
            axis = dataset.createVariable(name, "f8", (name,))
            axis.units = "m"
            axis[:] = values
        bands = dataset.createVariable("optical", "f4", ("band", "y", "x"), fill_value=-1.0)
        bands[:] = np.where(np.isnan(optical), -1.0, optical)
        terrain = dataset.createVariable("elevation", "f4", ("y", "x"), fill_value=-1.0)
        terrain[:] = np.where(np.isnan(height), -1.0, height)
        label = dataset.createVariable("label", "u1", ("y", "x"), fill_value=0)
        label.setncatts({"flag_values": [1, 2, 3], "flag_meanings": " ".join(CLASSES)})
        label[:] = labels
        dataset.setncatts({"crs": "EPSG:32633", "title": "made up"})
        if edit is not None:
            edit(dataset)
    return path


def write_wide_scene(folder: Path, copies: int) -> Path:
    """Shards of a larger scene: copies of the small one beside and below each other."""
    small = open_scene([write_scene_file(folder.with_suffix(".nc"))])
    modalities = {name: np.tile(v, (1, copies, copies)) for name, v in small.modalities.items()}
    rows, columns = ROWS * copies, COLUMNS * copies
    grid = Grid(
        4e5 + 30.0 * np.arange(columns), 5e6 - 30.0 * np.arange(rows), small.grid.projection
    )
    labels = np.tile(small.labels, (copies, copies))
    scene = Scene(modalities, labels, small.classes, grid, small.attributes)
    folder.mkdir()
    write_scene(folder, scene, np.where(np.arange(columns) < columns // 2, 1, 2) * (labels > 0))
    return folder


def make_untrained_run(folder: Path, shards: Path, filters: tuple[int, ...]) -> Path:
    """A run whose weights are those it starts from, which give a pixel one class or another."""
    from hvd_nowcast.training.checkpoint import save_arrays, variable_arrays
    from hvd_nowcast.training.landcover import LandcoverTask
    from hvd_nowcast.training.run_folder import RunFolder

    tree = {"data": {"shards": str(shards), "patch": 4}, "model": {"filters": list(filters)}}
    config = folder.with_suffix(".yaml")
    config.write_text(yaml.safe_dump({"task": "landcover", **tree}))
    loaded = load_config(config)
    assert isinstance(loaded, LandcoverConfig)
    run = RunFolder(folder)
    run.start(loaded)
    model = LandcoverTask(loaded, run).model
    save_arrays(run.best_weights, variable_arrays(model), {"step": 0})
    return folder
