"""Land-cover scenes from netCDF, GeoTIFF and ``.npy`` files: modalities and a map of labels.

In a netCDF file every variable on (y, x), with or without bands or times before it, is a modality,
but for the labels and what tells of quality. A GeoTIFF or ``.npy`` file is one modality under its
own name; files whose names differ only in a number at the end are the bands of one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import Grid
from hvd_nowcast.optional import import_optional
from hvd_nowcast.shards.convert.netcdf import attributes_of, decoded, open_netcdf
from hvd_nowcast.shards.scene import Bands, Labels, Scene

NETCDF = (".nc", ".nc4")
SUFFIXES = (*NETCDF, ".tif", ".tiff", ".npy")
LABEL_NAMES = re.compile(r"labels?|lulc|land_?cover|strata|classes", re.IGNORECASE)
QUALITY_NAMES = re.compile(r"valid|is_valid|mask|clm|clp|cloud.*|label.+|.*_labelled_.*", re.I)
VALID_NAMES = ("valid", "IS_VALID", "is_valid")
KEPT_ATTRIBUTES = ("title", "license", "institution", "source", "comment", "crs")
NUMBERED = re.compile(r"^(?P<name>.*?)[_-]?(?P<number>\d+)$")

Floats = NDArray[np.float64]


def open_scene(paths: Sequence[Path]) -> Scene:
    """Read the files of one scene.

    Parameters
    ----------
    paths
        One netCDF file, or GeoTIFF and ``.npy`` files of one grid, one of which may hold labels.

    Raises
    ------
    InputError
        When there are no modalities, or files do not fit each other.
    MissingDependencyError
        When a GeoTIFF is read without rasterio.
    """
    paths = [path for path in paths if path.suffix.lower() in SUFFIXES] or list(paths)
    if paths[0].suffix in NETCDF:
        if len(paths) > 1:
            raise InputError(paths[1], "a second netCDF file of a scene", "Give one file")
        return _from_netcdf(paths[0])
    return _from_images(paths)


def _from_netcdf(path: Path) -> Scene:
    with open_netcdf(path) as dataset:
        dataset.set_auto_maskandscale(False)
        fields = {
            name: variable
            for name, variable in dataset.variables.items()
            if variable.dimensions[-2:] == ("y", "x") and variable.ndim in (2, 3)
        }
        labels = next((name for name in fields if LABEL_NAMES.fullmatch(name)), None)
        values = {
            name: _decoded(variable)
            for name, variable in fields.items()
            if name != labels and not QUALITY_NAMES.fullmatch(name)
        }
        valid = next((fields[name][:] for name in VALID_NAMES if name in fields), None)
        names = str(getattr(fields[labels], "flag_meanings", "")).split() if labels else []
        y, x = (_axis(path, dataset, name) for name in ("y", "x"))
        attributes = attributes_of(dataset, KEPT_ATTRIBUTES)
        codes = np.asarray(fields[labels][:]) if labels else None
    return _scene(
        path, values, codes, names, Grid(x, y, _projection(attributes)), attributes, valid
    )


def _decoded(variable: netCDF4.Variable[Any]) -> Bands:
    values = decoded(variable, np.asarray(variable[:]), np.float64).astype(np.float32)
    return values[None] if values.ndim == 2 else values


def _axis(path: Path, dataset: netCDF4.Dataset, name: str) -> Floats:
    if name not in dataset.variables:
        raise InputError(path, f"there is no coordinate {name}", "Add it, in metres")
    return np.asarray(dataset[name][:], np.float64)


def _projection(attributes: dict[str, Any]) -> dict[str, Any]:
    return {"spatial_ref": str(attributes["crs"])} if "crs" in attributes else {}


def _from_images(paths: Sequence[Path]) -> Scene:
    labels = [path for path in paths if LABEL_NAMES.fullmatch(path.stem)]
    if len(labels) > 1:
        names = ", ".join(path.name for path in labels)
        raise InputError(paths[0], f"several maps of labels: {names}", "Give one of them")
    grid: Grid | None = None
    modalities: dict[str, list[Bands]] = {}
    valid: NDArray[Any] | None = None
    for path in sorted(set(paths) - set(labels)):
        values, theirs = _read(path)
        grid = grid or theirs
        if path.stem in VALID_NAMES:
            valid = values
        elif not QUALITY_NAMES.fullmatch(path.stem):
            modalities.setdefault(_modality(path, paths), []).append(values)
    stacked = {name: np.concatenate(parts) for name, parts in modalities.items()}
    codes, first = _read(labels[0]) if labels else (None, None)
    numbers = None if codes is None else np.nan_to_num(codes[0]).astype(np.int64)
    attributes = {"source": ", ".join(path.name for path in paths)}
    return _scene(paths[0], stacked, numbers, [], first or grid, attributes, valid)


def _modality(path: Path, paths: Sequence[Path]) -> str:
    """The common name of numbered files, else that of the file."""
    found = NUMBERED.match(path.stem)
    if found is None:
        return path.stem.lower()
    others = [NUMBERED.match(other.stem) for other in paths if other != path]
    shared = any(other is not None and other["name"] == found["name"] for other in others)
    return (found["name"] if shared else path.stem).lower()


def _read(path: Path) -> tuple[Bands, Grid | None]:
    """Values (band, y, x), NaN where missing, and the grid where the file has one."""
    if path.suffix == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as problem:
            raise InputError(
                path, f"not a readable array ({problem})", "Save it again"
            ) from problem
        # eo-learn keeps (time, y, x, 1).
        values = values[..., 0] if values.ndim > 2 and values.shape[-1] == 1 else values
        return np.asarray(values[None] if values.ndim == 2 else values, np.float32), None
    purpose = "GeoTIFF files need rasterio"
    rasterio = import_optional("rasterio", purpose, "'hvd_nowcast[landcover]'")
    try:
        with rasterio.open(path) as image:
            values = image.read(masked=True).astype(np.float32).filled(np.nan)
            t, crs = image.transform, image.crs
            x = t.c + t.a * (np.arange(image.width) + 0.5)
            y = t.f + t.e * (np.arange(image.height) + 0.5)
    except rasterio.errors.RasterioError as problem:
        raise InputError(path, f"not a readable image ({problem})", "Write it again") from problem
    return values, Grid(x, y, {"spatial_ref": crs.to_wkt()} if crs else {})


def _scene(
    path: Path,
    modalities: dict[str, Bands],
    codes: NDArray[Any] | None,
    names: Sequence[str],
    grid: Grid | None,
    attributes: dict[str, Any],
    valid: NDArray[Any] | None,
) -> Scene:
    if not modalities:
        raise InputError(path, "there is no modality on (y, x)", "Give bands")
    shape = codes.shape if codes is not None else next(iter(modalities.values())).shape[1:]
    for name, values in modalities.items():
        if values.shape[1:] != shape:
            raise InputError(
                path,
                f"{name} has {values.shape[1]} x {values.shape[2]} pixels, another field "
                f"{shape[0]} x {shape[1]}",
                "Bring all to one grid first",
            )
        if not np.isfinite(values).any():
            raise InputError(path, f"{name} is missing everywhere", "Check its missing value")
        if valid is not None and valid.shape == values.shape:
            values[valid != 1] = np.nan
    if codes is None:
        labels = np.zeros(shape, np.uint8)
    else:
        labels = np.where((codes > 0) & (codes < 255), codes, 0).astype(np.uint8)
    classes = tuple(names) or tuple(f"class{number}" for number in range(1, labels.max() + 1))
    if labels.max() > len(classes):
        raise InputError(
            path, f"has class {labels.max()}, but names only {len(classes)}", "Name every class"
        )
    plain = Grid(np.arange(shape[1]) + 0.5, np.arange(shape[0])[::-1] + 0.5)
    return _north_first(Scene(modalities, labels, classes, grid or plain, attributes))


def _north_first(scene: Scene) -> Scene:
    y = scene.grid.y
    if len(y) < 2 or y[0] > y[-1]:
        return scene
    turned: Labels = scene.labels[::-1]
    modalities = {name: values[:, ::-1] for name, values in scene.modalities.items()}
    grid = Grid(scene.grid.x, y[::-1], scene.grid.projection)
    return Scene(modalities, turned, scene.classes, grid, scene.attributes)
