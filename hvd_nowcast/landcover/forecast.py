"""From a trained land-cover run and the files of a scene to a map of classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import Grid
from hvd_nowcast.landcover.class_map_file import write_class_map
from hvd_nowcast.landcover.predictor import ClassMap, LandcoverPredictor, Windows
from hvd_nowcast.shards.convert import list_files
from hvd_nowcast.shards.convert.scene import open_scene
from hvd_nowcast.shards.scene import SceneReader, is_scene


@dataclass(frozen=True)
class OpenScene:
    """A scene that a model can map.

    Attributes
    ----------
    windows
        Gives squares of its modalities.
    grid
        Where its pixels lie.
    hidden
        Modalities of the model that it lacks.
    """

    windows: Windows
    grid: Grid
    hidden: tuple[str, ...]


def map_scene(predictor: LandcoverPredictor, inputs: Sequence[Path], out: Path) -> ClassMap:
    """Map a scene and write the map.

    A modality that the scene lacks is treated as missing, as in training.

    Parameters
    ----------
    predictor
        The model.
    inputs
        Files of the scene, which needs no labels, or its folder of shards.
    out
        The file to write.

    Raises
    ------
    InputError
        When the scene has none of the model's modalities, or one with other bands.
    """
    with open_for(predictor.scaling.bands, inputs) as scene:
        found = predictor.map(scene.windows, scene.grid.shape, scene.hidden)
        write_class_map(out, found, scene.grid, predictor.classes, predictor.fingerprint)
    return found


@contextmanager
def open_for(wanted: Mapping[str, int], inputs: Sequence[Path]) -> Iterator[OpenScene]:
    """Open a scene for a model.

    Parameters
    ----------
    wanted
        Bands of each modality of the model.
    inputs
        See `map_scene`.

    Raises
    ------
    InputError
        When the scene has none of the modalities, or one with other bands.
    """
    if len(inputs) == 1 and is_scene(inputs[0]):
        with closing(SceneReader(inputs[0])) as reader:
            hidden = _hidden(wanted, reader.manifest.modalities, inputs[0])
            yield OpenScene(reader, reader.grid, hidden)
        return
    scene = open_scene(list_files(inputs))
    bands = {name: len(values) for name, values in scene.modalities.items()}
    yield OpenScene(scene, scene.grid, _hidden(wanted, bands, inputs[0]))


def _hidden(wanted: Mapping[str, int], bands: Mapping[str, int], path: Path) -> tuple[str, ...]:
    hidden = tuple(name for name in wanted if name not in bands)
    if len(hidden) == len(wanted):
        raise InputError(
            path,
            f"has {', '.join(bands)}, but the model needs {', '.join(wanted)}",
            "Give a scene with the modalities of the training",
        )
    for name, count in wanted.items():
        if name not in hidden and bands[name] != count:
            raise InputError(
                path,
                f"has {bands[name]} bands of {name}, the model needs {count}",
                "Give the bands of the training",
            )
    return hidden


def shares_of(found: ClassMap, classes: Sequence[str]) -> str:
    """Share of each class in a map, largest first, as one line."""
    counts = np.bincount(found.classes.ravel(), minlength=len(classes) + 1)[1:]
    order = [number for number in np.argsort(-counts, kind="stable") if counts[number]]
    total = max(1, int(counts.sum()))
    return ", ".join(f"{classes[n].replace('_', ' ')} {counts[n] / total:.1%}" for n in order)
