"""Starting a run from the weights of another, layer by layer, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
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
    widened
        Of these, kernels that see more than those of the other run: what they see there comes
        first, and the rest of them is left as it was.
    skipped
        Left as they were, because the other run has none of that name and shape.
    frozen
        Taken over and never changed.
    """

    moved: tuple[str, ...]
    widened: tuple[str, ...]
    skipped: tuple[str, ...]
    frozen: tuple[str, ...]

    def __str__(self) -> str:
        """One line for people."""
        parts = [
            (self.frozen, "of them frozen"),
            (self.widened, "of them widened"),
            (self.skipped, "skipped"),
        ]
        told = [f", {len(names)} {what}: {_few(names)}" for names, what in parts if names]
        return f"{len(self.moved)} weights taken over{''.join(told)}"


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
        Built; weights of the same name and shape are taken over. When it differs only in kernels
        that see more channels, as of a network that is shown noise too, these are taken over as
        well: channels that both see come first.
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
    fitting = _fitting(theirs, model)
    if not fitting:
        raise RunFolderError(
            f"{path}: no weight has the name and shape of one of this model. Start from a run of "
            "the same task and model section"
        )
    for variable in model.weights:
        if variable.path in fitting:
            variable.assign(_widened(fitting[variable.path], variable))
    frozen = {v.path for v in model.weights} - {v.path for v in trained(model, start.freeze)}
    found = Moved(
        tuple(fitting),
        tuple(v.path for v in model.weights if fitting.get(v.path, v).shape != tuple(v.shape)),
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


def _fitting(theirs: dict[str, NDArray[Any]], model: keras.Model) -> dict[str, NDArray[Any]]:
    """Weights of another run that this model can take, by their paths."""
    known = {v.path: (theirs[v.path], tuple(v.shape)) for v in model.weights if v.path in theirs}
    same = {path for path, (array, shape) in known.items() if array.shape == shape}
    wider = {path for path, (array, shape) in known.items() if _sees_more(shape, array.shape)}
    if len(same) + len(wider) == len(model.weights):
        same |= wider
    return {path: array for path, (array, _) in known.items() if path in same}


def _sees_more(ours: tuple[int, ...], theirs: tuple[int, ...]) -> bool:
    """Whether these are shapes of kernels, (..., in, out), of which ours has more that go in."""
    same = len(ours) == len(theirs) > 1 and (*ours[:-2], ours[-1]) == (*theirs[:-2], theirs[-1])
    return same and ours[-2] > theirs[-2]


def _widened(theirs: NDArray[Any], variable: Any) -> NDArray[Any]:
    """Weights of another run, with those of the variable for channels that it did not see."""
    if theirs.shape == tuple(variable.shape):
        return theirs
    return np.concatenate([theirs, np.asarray(variable)[..., theirs.shape[-2] :, :]], -2)


def _by_name(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Weights by their path: a checkpoint numbers them first, ``model/0003/PATH``."""
    return {
        name.split("/", 2)[2]: array for name, array in arrays.items() if name.startswith("model/")
    }


def _few(names: Sequence[str], limit: int = 6) -> str:
    layers = list(dict.fromkeys(name.split("/")[0] for name in names))
    return ", ".join(layers[:limit]) + (" ..." if len(layers) > limit else "")
