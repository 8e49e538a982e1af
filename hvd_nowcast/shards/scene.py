"""A land-cover scene on disk: modalities, labels and split on one grid, and its manifest.

``scene.nc`` holds one variable ``(band, y, x)`` per modality, ``label(y, x)`` with 0 where there
is none, and ``split(y, x)``. Windows are read from the file, so memory does not grow with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dacite
import netCDF4
import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import ShardError
from hvd_nowcast.grid import Grid
from hvd_nowcast.shards.hdf5_lock import hdf5_lock
from hvd_nowcast.shards.manifest import FORMAT, MANIFEST, Companion, file_digest, verify_bytes
from hvd_nowcast.shards.split import SPLITS
from hvd_nowcast.shards.writer import PLAIN, atomic_output, netcdf_output, write_grid

SCENE = "scene.nc"
KIND = "scene"
BUILD = "Build it with: hvd-nowcast shards build --format scene"
CHUNK = 256
# Every modality is one variable with this beginning, so that none can be called like a coordinate.
PREFIX = "modality_"

Bands = NDArray[np.float32]
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """A scene in memory, as converters give it.

    Attributes
    ----------
    modalities
        Name to values, NaN where missing, shape (band, y, x).
    labels
        Class numbers from 1, 0 where not labelled, shape (y, x).
    classes
        Name of each class, the first is that of number 1.
    grid
        Where the pixels lie, row 0 in the north.
    attributes
        Title, licence, source.
    """

    modalities: Mapping[str, Bands]
    labels: Labels
    classes: tuple[str, ...]
    grid: Grid
    attributes: Mapping[str, Any]

    def window(self, modality: str, row: int, column: int, side: int) -> Bands:
        """A square of one modality, NaN outside the scene, shape (side, side, band)."""
        return window_of(self.modalities[modality], row, column, side)


@dataclass(frozen=True)
class SceneManifest:
    """What ``manifest.json`` says of a scene.

    Attributes
    ----------
    modalities
        Name to number of bands.
    classes
        Names of the classes.
    shape
        Rows and columns.
    spacing
        Pixel size in metres.
    pixels
        Labelled pixels of each class, by split.
    scene
        The file, its size and checksum.
    source
        Title, licence, where it came from.
    """

    modalities: dict[str, int]
    classes: tuple[str, ...]
    shape: tuple[int, int]
    spacing: float
    pixels: dict[str, tuple[int, ...]]
    scene: Companion
    source: dict[str, Any]

    @classmethod
    def load(cls, folder: str | Path) -> SceneManifest:
        """Read the manifest of a folder.

        Raises
        ------
        ShardError
            When it is missing, damaged, or of something else than a scene.
        """
        path = Path(folder) / MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("format", None) != FORMAT or content.pop("kind", None) != KIND:
                raise ValueError("it is not of a scene of this version of the program")
            return dacite.from_dict(cls, content, dacite.Config(strict=True, cast=[tuple]))
        except FileNotFoundError as problem:
            raise ShardError(path, "there is no manifest", BUILD) from problem
        except (OSError, ValueError, KeyError, TypeError, dacite.DaciteError) as problem:
            raise ShardError(path, f"not a readable manifest ({problem})", BUILD) from problem

    def save(self, folder: Path) -> None:
        """Write the manifest, at once or not at all."""
        with atomic_output(folder / MANIFEST) as aside:
            text = json.dumps({"format": FORMAT, "kind": KIND, **asdict(self)}, indent=1)
            aside.write_text(text + "\n", encoding="utf-8")


def is_scene(folder: str | Path) -> bool:
    """Whether a folder of shards holds a scene."""
    try:
        content = json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") == KIND


def write_scene(folder: Path, scene: Scene, split: NDArray[np.uint8]) -> SceneManifest:
    """Write a scene and its manifest.

    Parameters
    ----------
    folder
        A new folder; the manifest comes last.
    scene
        What is written.
    split
        Number of the split of each pixel from 1, 0 for none, shape (y, x).

    Raises
    ------
    OutputError
        When a file cannot be written.
    """
    path = folder / SCENE
    with atomic_output(path) as aside, netcdf_output(aside) as dataset:
        dataset.setncatts({"Conventions": "CF-1.8", **scene.attributes})
        write_grid(dataset, scene.grid)
        for name, values in scene.modalities.items():
            dataset.createDimension(f"{name}_band", len(values))
            variable = _field(dataset, PREFIX + name, "f4", values, f"{name}_band")
            variable.long_name = f"modality {name}"
        labels = _field(dataset, "label", "u1", scene.labels)
        numbers = np.arange(1, len(scene.classes) + 1, dtype=np.uint8)
        meanings = " ".join(name.replace(" ", "_") for name in scene.classes)
        labels.setncatts({"flag_values": numbers, "flag_meanings": meanings})
        parts = _field(dataset, "split", "u1", split)
        parts.setncatts({"flag_values": [1, 2, 3], "flag_meanings": " ".join(SPLITS)})
    manifest = SceneManifest(
        {name: len(values) for name, values in scene.modalities.items()},
        scene.classes,
        scene.grid.shape,
        scene.grid.spacing,
        {
            name: tuple(class_counts(scene.labels[split == number], len(scene.classes)).tolist())
            for number, name in enumerate(SPLITS, 1)
        },
        Companion(path.name, path.stat().st_size, file_digest(path)),
        {key: str(value) for key, value in scene.attributes.items()},
    )
    manifest.save(folder)
    return manifest


def class_counts(labels: Labels, classes: int) -> NDArray[np.int64]:
    """Pixels of each class, shape (classes,)."""
    return np.bincount(labels.ravel(), minlength=classes + 1)[1:]


def _field(
    dataset: netCDF4.Dataset, name: str, dtype: str, values: NDArray[Any], *leading: str
) -> netCDF4.Variable[Any]:
    rows, columns = values.shape[-2:]
    chunks = (*values.shape[:-2], min(CHUNK, rows), min(CHUNK, columns))
    dimensions = (*leading, "y", "x")
    variable = dataset.createVariable(name, dtype, dimensions, chunksizes=chunks, **PLAIN)
    variable[:] = values
    return variable


class SceneReader:
    """An open scene, verified against its manifest.

    Parameters
    ----------
    folder
        Made by `write_scene`.

    Raises
    ------
    ShardError
        When it is no scene, or not byte for byte what was built.
    """

    def __init__(self, folder: str | Path) -> None:
        self.manifest = SceneManifest.load(folder)
        self.path = Path(folder) / self.manifest.scene.file
        verify_bytes(folder, self.manifest.scene)
        try:
            self._dataset = netCDF4.Dataset(self.path)
            self._dataset.set_auto_maskandscale(False)
            self.labels: Labels = np.asarray(self._dataset["label"][:])
            self.split: Labels = np.asarray(self._dataset["split"][:])
            crs = self._dataset.variables.get("crs")
            projection = {n: crs.getncattr(n) for n in crs.ncattrs()} if crs is not None else {}
            x, y = (np.asarray(self._dataset[name][:], np.float64) for name in ("x", "y"))
            self.grid = Grid(x, y, projection)
        except (OSError, RuntimeError, LookupError) as problem:
            raise ShardError(self.path, f"not a readable scene ({problem})", BUILD) from problem

    def window(self, modality: str, row: int, column: int, side: int) -> Bands:
        """A square of one modality, NaN outside the scene, shape (side, side, band)."""
        with hdf5_lock():
            return window_of(self._dataset[PREFIX + modality], row, column, side)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with hdf5_lock():
            if self._dataset.isopen():
                self._dataset.close()


def squares(shape: tuple[int, int], side: int) -> list[tuple[int, int]]:
    """First row and column of the squares that cover a field (y, x)."""
    return [(r, c) for r in range(0, shape[0], side) for c in range(0, shape[1], side)]


def window_of(values: Any, row: int, column: int, side: int) -> Bands:
    """A square of an array or variable (band, y, x), NaN outside, shape (side, side, band)."""
    bands, rows, columns = values.shape
    window = np.full((side, side, bands), np.nan, np.float32)
    top, left = max(row, 0), max(column, 0)
    bottom, right = min(row + side, rows), min(column + side, columns)
    if top < bottom and left < right:
        inside = np.asarray(values[:, top:bottom, left:right])
        where = slice(top - row, bottom - row), slice(left - column, right - column)
        window[where] = np.moveaxis(inside, 0, -1)
    return window


def square(field: NDArray[Any], row: int, column: int, side: int) -> NDArray[Any]:
    """A square of a field (y, x), 0 outside it, shape (side, side)."""
    values = np.zeros((side, side), field.dtype)
    top, left = max(row, 0), max(column, 0)
    inside = field[top : max(row + side, 0), left : max(column + side, 0)]
    values[
        top - row : top - row + inside.shape[0], left - column : left - column + inside.shape[1]
    ] = inside
    return values
