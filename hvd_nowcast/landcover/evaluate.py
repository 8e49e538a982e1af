"""Score a land-cover model beside itself without a modality and beside a random forest."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast import console
from hvd_nowcast.errors import ConfigError, InputError, MissingDependencyError
from hvd_nowcast.landcover.predictor import ClassMap, LandcoverPredictor
from hvd_nowcast.optional import import_optional
from hvd_nowcast.plots.landcover import save_landcover_figures
from hvd_nowcast.shards.scene import SceneReader, square, squares
from hvd_nowcast.shards.split import SPLITS
from hvd_nowcast.verification.confusion import class_scores, confusion
from hvd_nowcast.verification.findings import Findings

FOREST = "random_forest"
TREES = 200
ROWS = 256
SUMMARY = ("accuracy", "mean_recall", "kappa")


def evaluate_landcover(run: Path, shards_folder: Path | None, split: str) -> Findings:
    """Score a run on the labelled pixels of one split.

    Parameters
    ----------
    run
        The trained run.
    shards_folder
        Another scene than the run's.
    split
        ``train``, ``validation`` or ``test``.

    Raises
    ------
    ConfigError
        When there is no such split.
    InputError
        When the scene has other classes or lacks a modality.
    """
    if split not in SPLITS:
        raise ConfigError(f"--split {split}: choose from {', '.join(SPLITS)}")
    predictor = LandcoverPredictor.load(run)
    with closing(SceneReader(shards_folder or predictor.config.data.shards)) as reader:
        _check_fit(predictor, reader)
        observed = np.where(reader.split == SPLITS.index(split) + 1, reader.labels, 0)
        maps = _maps(predictor, reader)
    counts = {
        source: confusion(observed, found.classes, len(predictor.classes))
        for source, found in maps.items()
    }
    scores = {
        "task": "landcover",
        "split": split,
        "classes": list(predictor.classes),
        "pixels": [int((observed == n).sum()) for n in range(1, len(predictor.classes) + 1)],
        "scores": {source: class_scores(table) for source, table in counts.items()},
        "confusion": {source: table.tolist() for source, table in counts.items()},
    }
    draw = partial(save_landcover_figures, scores, reader.labels, maps["model"].classes)
    return Findings(_table(scores), scores, draw)


def _maps(predictor: LandcoverPredictor, reader: SceneReader) -> dict[str, ClassMap]:
    shape = reader.manifest.shape
    maps = {"model": predictor.map(reader, shape)}
    names = list(predictor.scaling.bands)
    for name in names if len(names) > 1 else ():
        maps[f"without {name}"] = predictor.map(reader, shape, (name,))
    try:
        maps[FOREST] = _random_forest(predictor, reader)
    except MissingDependencyError as problem:
        console.warn(f"without the random forest: {problem}")
    return maps


def _random_forest(predictor: LandcoverPredictor, reader: SceneReader) -> ClassMap:
    """The usual pixel-wise classifier, trained on the bands of the training pixels."""
    purpose = "the random forest needs scikit-learn"
    ensemble = import_optional("sklearn.ensemble", purpose, "'hvd_nowcast[landcover]'")
    pixels, labels = [], []
    for row, column in squares(reader.manifest.shape, ROWS):
        train = square(reader.split, row, column, ROWS) == 1
        pixels.append(_bands(predictor, reader, row, column)[train])
        labels.append(square(reader.labels, row, column, ROWS)[train])
    forest = ensemble.RandomForestClassifier(TREES, random_state=0, n_jobs=-1)
    forest.fit(np.concatenate(pixels), np.concatenate(labels))
    classes = np.zeros(reader.manifest.shape, np.uint8)
    for row, column in squares(reader.manifest.shape, ROWS):
        bands = _bands(predictor, reader, row, column)
        part = classes[row : row + ROWS, column : column + ROWS]
        inside = bands[: part.shape[0], : part.shape[1]].reshape(-1, bands.shape[-1])
        part[:] = forest.predict(inside).reshape(part.shape)
    return ClassMap(classes, np.full(classes.shape, np.nan, np.float32))


def _bands(
    predictor: LandcoverPredictor, reader: SceneReader, row: int, column: int
) -> NDArray[np.float32]:
    parts = [reader.window(name, row, column, ROWS) for name in predictor.scaling.bands]
    return np.concatenate(parts, -1)


def _check_fit(predictor: LandcoverPredictor, reader: SceneReader) -> None:
    theirs = reader.manifest
    if theirs.classes != predictor.classes:
        raise InputError(
            reader.path,
            f"has the classes {', '.join(theirs.classes)}, the model "
            f"{', '.join(predictor.classes)}",
            "Give a scene with the same classes",
        )
    for name, bands in predictor.scaling.bands.items():
        if theirs.modalities.get(name) != bands:
            raise InputError(
                reader.path,
                f"has {theirs.modalities.get(name, 0)} bands of {name}, the model needs {bands}",
                "Give a scene with the modalities of the training",
            )


def _table(scores: dict[str, Any]) -> str:
    header = ["source", "accuracy", "mean class recall", "kappa", *scores["classes"]]
    rows = [
        [
            source.replace("_", " "),
            *(_cell(table[key]) for key in SUMMARY),
            *map(_cell, table["f1"]),
        ]
        for source, table in scores["scores"].items()
    ]
    pixels = f"{sum(scores['pixels'])} labelled pixels of the {scores['split']} split"
    return (
        f"{console.table(header, rows)}\n{pixels}; the columns after kappa are the F1 of each class"
    )


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
