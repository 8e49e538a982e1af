"""What is cut into regions: a radar domain, a watershed or a scene, opened for a look at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.config import (
    Config,
    CutSection,
    FloodConfig,
    LandcoverConfig,
    NowcastConfig,
    RegionsConfig,
    RegionSection,
)
from hvd_nowcast.errors import ConfigError
from hvd_nowcast.grid import Grid
from hvd_nowcast.regions.basin import describe_basins
from hvd_nowcast.regions.radar import describe_radar, rain_density
from hvd_nowcast.regions.scene import describe_scene
from hvd_nowcast.regions.segment import cut_gauges, cut_grid, cut_polygons, cut_quadtree
from hvd_nowcast.regions.similarity import Description
from hvd_nowcast.shards.manifest import Manifest, shard_path
from hvd_nowcast.shards.reader import ReaderPool, ShardReader
from hvd_nowcast.shards.scene import SceneReader
from hvd_nowcast.shards.watershed import load_watershed

Found = tuple[list[RegionSection], list[Description]]


def look_at_regions(config: RegionsConfig, base: Config) -> Found:
    """Cut the domain of a configuration into regions and describe each.

    Raises
    ------
    ConfigError
        When the cut is none for this task.
    ShardError
        When the archive cannot be read.
    """
    looks = {NowcastConfig: _radar, FloodConfig: _watershed, LandcoverConfig: _scene}
    return looks[type(base)](config, base)  # type: ignore[operator]


def _radar(config: RegionsConfig, base: NowcastConfig) -> Found:
    only = base.data.only_folder("regions are cut from")
    if only is None:
        raise ConfigError("regions need an archive: give data.shards in the base")
    folder = Path(only)
    manifest = Manifest.load(folder)
    with ShardReader(shard_path(folder, manifest.shards[0].file)) as reader:
        grid = reader.header.grid
    with closing(ReaderPool(folder)) as pool:
        regions = cut(config.cut, grid, lambda: rain_density(manifest, pool))
        least = base.data.frames_in + base.data.frames_out + 1
        return regions, describe_radar(
            manifest, pool, regions, least, config.similarity.block_hours
        )


def _watershed(config: RegionsConfig, base: FloodConfig) -> Found:
    if config.cut.kind != "gauges":
        raise ConfigError(f"cut.kind is {config.cut.kind}: a watershed is cut by its gauges")
    folder = Path(base.data.shards)
    manifest = Manifest.load(folder)
    watershed = load_watershed(folder, manifest)
    regions = cut_gauges(base.data.gauges or watershed.gauges)
    with closing(ReaderPool(folder)) as pool:
        return regions, describe_basins(
            manifest, pool, watershed, regions, base, config.similarity.block_hours
        )


def _scene(config: RegionsConfig, base: LandcoverConfig) -> Found:
    with closing(SceneReader(base.data.shards)) as reader:
        labelled = ((reader.labels > 0) & (reader.split == 1)).astype(np.float64)
        regions = cut(config.cut, reader.grid, lambda: labelled)
        return regions, describe_scene(reader, regions, base.data.modalities)


def cut(
    section: CutSection, grid: Grid, density: Callable[[], NDArray[np.float64]]
) -> list[RegionSection]:
    """Cut a grid as a section says.

    Parameters
    ----------
    section
        How.
    grid
        The domain.
    density
        Gives the data in each pixel, shape (y, x).
    """
    if section.kind == "gauges":
        raise ConfigError("cut.kind is gauges, which only a watershed has")
    if section.kind == "polygons":
        assert section.polygons is not None
        return cut_polygons(Path(section.polygons), grid)
    if section.kind == "quadtree":
        return cut_quadtree(density(), section.most, section.least_side)
    return cut_grid(grid.shape, section.rows, section.columns)


def usable(descriptions: Sequence[Description]) -> list[int]:
    """Numbers of the regions that have something to learn from."""
    return [number for number, found in enumerate(descriptions) if found.problem is None]
