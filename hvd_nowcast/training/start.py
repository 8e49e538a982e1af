"""Starting a run from the weights of another, layer by layer, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
from numpy.typing import NDArray

from hvd_nowcast.config import StartSection
from hvd_nowcast.errors import ConfigError, RunFolderError
from hvd_nowcast.training.checkpoint import load_arrays
from hvd_nowcast.training.run_folder import RunFolder

START = "start.json"


@dataclass(frozen=True)
class Moved:
    """What became of the weights of a model that started from another run.

    Attributes
    ----------
    moved
        Taken over.
    skipped
        Left as they were, because the other run has none of that name and shape.
    frozen
        Taken over and never changed.
    """

    moved: tuple[str, ...]
    skipped: tuple[str, ...]
    frozen: tuple[str, ...]

    def __str__(self) -> str:
        """One line for people."""
        skipped = f", {len(self.skipped)} skipped: {_few(self.skipped)}" if self.skipped else ""
        frozen = f", {len(self.frozen)} of them frozen: {_few(self.frozen)}" if self.frozen else ""
        return f"{len(self.moved)} weights taken over{frozen}{skipped}"


def take_over_scaling(start: StartSection | None, run: RunFolder) -> None:
    """Give a new run the scaling that the weights it starts from were learnt with.

    The scaling of a watershed belongs to its gauges, and stays with them.

    Raises
    ------
    RunFolderError
        When the other run has none.
    """
    if start is None or run.has("scaler.json"):
        return
    scaling = RunFolder(start.run, writable=False).read_json("scaler.json")
    if scaling.get("kind") != "flow":
        run.write_json("scaler.json", scaling)


def start_from(start: StartSection, model: keras.Model, run: RunFolder) -> Moved:
    """Fill a model with the best weights of another run, and note in ``start.json`` which.

    Parameters
    ----------
    start
        Which run, and what is frozen.
    model
        Built; weights of the same name and shape are taken over.
    run
        The new run.

    Raises
    ------
    RunFolderError
        When the other run has no weights, or none that fits.
    """
    path = RunFolder(Path(start.run), writable=False).require_weights()
    arrays, _ = load_arrays(path)
    theirs = _by_name(arrays)
    fitting = {
        v.path: theirs[v.path]
        for v in model.weights
        if v.path in theirs and theirs[v.path].shape == tuple(v.shape)
    }
    if not fitting:
        raise RunFolderError(
            f"{path}: no weight has the name and shape of one of this model. Start from a run of "
            "the same task and model section"
        )
    for variable in model.weights:
        if variable.path in fitting:
            variable.assign(fitting[variable.path])
    frozen = {v.path for v in model.weights} - {v.path for v in trained(model, start.freeze)}
    found = Moved(
        tuple(fitting),
        tuple(v.path for v in model.weights if v.path not in fitting),
        tuple(name for name in fitting if name in frozen),
    )
    run.write_json(START, {"run": start.run, **asdict(found)})
    return found


def trained(model: keras.Model, freeze: Sequence[str]) -> list[Any]:
    """Trainable weights that are not frozen.

    Raises
    ------
    ConfigError
        When a name to freeze is none of the model's, or nothing would be left to train.
    """
    weights = model.trainable_variables
    for name in freeze:
        if not any(v.path.startswith(name) for v in weights):
            layers = ", ".join(dict.fromkeys(v.path.split("/")[0] for v in weights))
            raise ConfigError(f"start.freeze: there is no layer {name}, the model has {layers}")
    left = [v for v in weights if not v.path.startswith(tuple(freeze))] if freeze else [*weights]
    if not left:
        raise ConfigError("start.freeze leaves nothing to train")
    return left


def _by_name(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Weights by their path: a checkpoint numbers them first, ``model/0003/PATH``."""
    return {
        name.split("/", 2)[2]: array for name, array in arrays.items() if name.startswith("model/")
    }


def _few(names: Sequence[str], limit: int = 6) -> str:
    layers = list(dict.fromkeys(name.split("/")[0] for name in names))
    return ", ".join(layers[:limit]) + (" ..." if len(layers) > limit else "")
