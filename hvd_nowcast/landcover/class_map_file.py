"""A map of classes as CF netCDF or GeoTIFF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hvd_nowcast import __version__
from hvd_nowcast.errors import ConfigError
from hvd_nowcast.grid import Grid
from hvd_nowcast.landcover.predictor import ClassMap
from hvd_nowcast.optional import import_optional
from hvd_nowcast.plots.landcover import class_colours
from hvd_nowcast.shards.writer import PLAIN, atomic_output, netcdf_output, write_grid

GEOTIFF = (".tif", ".tiff")


def write_class_map(
    out: Path, found: ClassMap, grid: Grid, classes: Sequence[str], fingerprint: str
) -> None:
    """Write a map; the ending of the name tells the kind.

    Parameters
    ----------
    out
        A path ending in ``.nc``, ``.tif`` or ``.tiff``.
    found
        The map.
    grid
        Where its pixels lie.
    classes
        Names of the classes.
    fingerprint
        Of the weights.

    Raises
    ------
    ConfigError
        When the name ends in something else.
    OutputError
        When the file cannot be written; nothing is left under its name then.
    MissingDependencyError
        When a GeoTIFF is wanted without rasterio.
    """
    if out.suffix.lower() in GEOTIFF:
        _write_geotiff(out, found, grid, classes)
    elif out.suffix.lower() == ".nc":
        _write_netcdf(out, found, grid, classes, fingerprint)
    else:
        raise ConfigError(f"--out {out}: a map of classes is written as .nc, .tif or .tiff")


def _write_netcdf(
    out: Path, found: ClassMap, grid: Grid, classes: Sequence[str], fingerprint: str
) -> None:
    with atomic_output(out) as aside, netcdf_output(aside) as dataset:
        source = f"hvd_nowcast {__version__}, weights {fingerprint[:16]}"
        dataset.setncatts({"Conventions": "CF-1.8", "title": "Land cover", "source": source})
        write_grid(dataset, grid)
        cover = dataset.createVariable("land_cover", "u1", ("y", "x"), fill_value=0, **PLAIN)
        cover.setncatts(
            {
                "long_name": "land cover class",
                "flag_values": np.arange(1, len(classes) + 1, dtype=np.uint8),
                "flag_meanings": " ".join(classes),
            }
        )
        cover.set_auto_maskandscale(False)
        cover[:] = found.classes
        chance = dataset.createVariable("probability", "f4", ("y", "x"), fill_value=np.nan, **PLAIN)
        chance.setncatts({"long_name": "probability of that class", "units": "1"})
        chance[:] = found.probability
        if grid.projection:
            cover.grid_mapping = chance.grid_mapping = "crs"


def _write_geotiff(out: Path, found: ClassMap, grid: Grid, classes: Sequence[str]) -> None:
    rasterio = import_optional(
        "rasterio", "GeoTIFF files need rasterio", "'hvd_nowcast[landcover]'"
    )
    height, width = found.classes.shape
    across, down = abs(grid.x[1] - grid.x[0]), abs(grid.y[0] - grid.y[1])
    left, top = grid.x[0] - across / 2, grid.y[0] + down / 2
    settings = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": 1,
        "dtype": "uint8",
        "nodata": 0,
        "compress": "deflate",
        "transform": rasterio.Affine(across, 0.0, left, 0.0, -down, top),
        "crs": grid.projection.get("spatial_ref"),
    }
    with atomic_output(out) as aside, rasterio.open(aside, "w", **settings) as image:
        image.write(found.classes, 1)
        image.update_tags(**{f"class_{n}": name for n, name in enumerate(classes, 1)})
        colours = [(0, 0, 0, 0), *(_rgba(colour) for colour in class_colours(classes))]
        image.write_colormap(1, dict(enumerate(colours)))


def _rgba(colour: str) -> tuple[int, int, int, int]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue, 255
