"""A scene in tiles, joined to the class map that ``forecast`` writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hvd_nowcast.landcover.class_map_file import write_class_map
from hvd_nowcast.landcover.forecast import OpenScene, open_for, shares_of
from hvd_nowcast.landcover.predictor import TILE, ClassMap, LandcoverPredictor, nothing_known
from hvd_nowcast.spark.plan import Request, tile_corners
from hvd_nowcast.spark.results import write_arrays

# A result holds 4 x 4 squares of the predictor: one file each would cost a sixth of the time.
SIDE = 4 * TILE


class SceneWork:
    """A land-cover model with its scene.

    Parameters
    ----------
    predictor
        The model.
    scene
        What is mapped.
    map_name
        Name of the class map, which tells its format.
    """

    def __init__(self, predictor: LandcoverPredictor, scene: OpenScene, map_name: str) -> None:
        self.weights = predictor.fingerprint
        self._predictor = predictor
        self._scene = scene
        self._map_name = map_name
        self._corners = tile_corners(scene.grid.shape, SIDE)
        self.pieces = tuple(self._corners)

    def compute(self, piece: str, path: Path) -> None:
        """Map one tile."""
        corner = self._corners[piece]
        rows, columns = (min(SIDE, s - c) for s, c in zip(self._shape, corner, strict=True))
        scene = self._scene
        found = self._predictor.map_part(scene.windows, corner, (rows, columns), scene.hidden)
        write_arrays(path, {"classes": found.classes, "probability": found.probability})

    def join(self, out: Path) -> str:
        """Write the class map of all tiles."""
        whole = nothing_known(self._shape)
        for piece, (row, column) in self._corners.items():
            with np.load(out / piece, allow_pickle=False) as arrays:
                whole.place(ClassMap(arrays["classes"], arrays["probability"]), row, column)
        path, classes = out / self._map_name, self._predictor.classes
        write_class_map(path, whole, self._scene.grid, classes, self.weights)
        return f"{path}: {shares_of(whole, classes)}"

    @property
    def _shape(self) -> tuple[int, int]:
        return self._scene.grid.shape


@contextmanager
def open_scene_work(run: Path, request: Request) -> Iterator[SceneWork]:
    """Open a land-cover run and a scene.

    Raises
    ------
    InputError
        When the scene does not fit the model.
    """
    predictor = LandcoverPredictor.load(run)
    with open_for(predictor.scaling.bands, request.inputs) as scene:
        yield SceneWork(predictor, scene, "map.tif" if request.geotiff else "map.nc")
