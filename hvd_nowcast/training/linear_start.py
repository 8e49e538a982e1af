"""Least squares for the linear path of the flood network, which gradient steps find only slowly."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hvd_nowcast.models.flood import LEAD_SHARE, LINEAR, LINEAR_INPUTS, PLAIN, FloodNetwork
from hvd_nowcast.models.tracing import as_graph

# Ridge penalties to choose from, by the error on the validation split; the largest leaves nothing
# but persistence, which a short record may ask for.
PENALTIES = (1e-3, 1e-1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6)

Array = NDArray[np.float64]


# From a batch to some tensor inside the network, and to what comes out.
View = Callable[[dict[str, Any]], tuple[Any, Any]]


def linear_view(network: FloodNetwork) -> View:
    """What the linear path of a network is given."""
    return _view(network, network.tail.get_layer(LINEAR_INPUTS).output)


def learnt_view(network: FloodNetwork) -> View:
    """What its recurrent block has learnt, before its share."""
    return _view(network, network.tail.get_layer(LEAD_SHARE).input)


def _view(network: FloodNetwork, inside: keras.KerasTensor) -> View:
    """Look into a network; traced once, however often its weights change."""
    tail = network.tail
    looked_into = keras.Model(tail.inputs, [inside, tail.output])

    def view(batch: dict[str, Any]) -> tuple[Any, Any]:
        heads = [head([batch["rain"], batch["gauge"]]) for head in network.heads]
        found, output = looked_into([tf.concat(heads, -1), batch["series"]])
        return found, output

    return as_graph(view)


def fit_linear_path(
    network: FloodNetwork,
    view: View,
    train: Iterable[dict[str, Any]],
    validation: Iterable[dict[str, Any]],
) -> None:
    """Set the weights of the linear path by ridge regression (Hoerl and Kennard 1970).

    The rain of neighbouring travel times is much alike, and what tells it apart is partly chance.
    So the solution is the mean of one from all heads and one from each head alone (random
    subspaces, Ho 1998, doi:10.1109/34.709601).

    Parameters
    ----------
    network
        Its other paths stay as they are, which is zero in a new network; the linear path learns
        what they leave.
    view
        Of `linear_view`.
    train, validation
        Decoded batches.
    """
    layer = network.tail.get_layer(LINEAR)
    kernel, bias = layer.kernel, layer.bias
    for variable in (kernel, bias):
        variable.assign(np.zeros(variable.shape))
    inputs, wanted = _gathered(network, view, train)
    held_inputs, held_wanted = _gathered(network, view, validation)
    square, right = inputs.T @ inputs, inputs.T @ wanted
    subspaces = _subspaces(network)
    best = np.zeros_like(right)
    for columns in subspaces:
        best[columns] += _ridge_regression(
            square[np.ix_(columns, columns)],
            right[columns],
            held_inputs[:, columns],
            held_wanted,
        ) / len(subspaces)
    outputs = bias.shape[0] // best.shape[1]
    # Each lead time's outputs follow each other: a mean and a deviation, or quantiles.
    spread = np.zeros((best.shape[1], outputs))
    spread[:, : 1 if network.has_deviation else outputs] = 1.0
    weights = (best[:, :, None] * spread).reshape(len(best), -1)
    kernel.assign(weights[1:].astype(kernel.dtype))
    bias.assign(weights[0].astype(bias.dtype))


def _subspaces(network: FloodNetwork) -> list[NDArray[np.int64]]:
    """Columns of the inputs, after a leading 1: all of them, and those with the rain of a head."""
    steps, features = network.tail.get_layer(LINEAR_INPUTS).input.shape[1:]
    heads = len(network.heads)
    head_of = np.full(features, -1)
    head_of[: PLAIN * heads] = np.repeat(np.arange(heads), PLAIN)
    # The leading 1 and all series belong to every head.
    head_of = np.concatenate([[-1], np.tile(head_of, steps)])
    alone = [np.flatnonzero((head_of == -1) | (head_of == head)) for head in range(heads)]
    return [np.arange(len(head_of)), *(alone if heads > 1 else [])]


def _ridge_regression(square: Array, right: Array, held_inputs: Array, held_wanted: Array) -> Array:
    """Weights of some columns, shape (columns, leads), of the best penalty at each lead time.

    Parameters
    ----------
    square, right
        Products of these columns with each other, and with what is wanted, over all samples.
    held_inputs, held_wanted
        To choose by, shapes (samples, columns) and (samples, leads).
    """
    solutions = [
        np.linalg.solve(square + penalty * np.eye(len(square)), right) for penalty in PENALTIES
    ]
    errors = np.array([np.mean((held_inputs @ s - held_wanted) ** 2, 0) for s in solutions])
    # Each lead time takes its own penalty: a long one needs a larger one.
    return np.choose(errors.argmin(0), np.array(solutions))


def _gathered(
    network: FloodNetwork, view: View, batches: Iterable[dict[str, Any]]
) -> tuple[Array, Array]:
    """Inputs of the linear path with a leading 1, and the discharge that the rest leaves to it."""
    inputs, wanted = [], []
    for batch in batches:
        seen = {name: batch[name] for name in ("rain", "gauge", "series")}
        newest, rest = (part.numpy() for part in view(seen))
        # The mean, or the quantile in the middle.
        middle = 0 if network.has_deviation else rest.shape[-1] // 2
        left = batch["target"].numpy() - rest[..., middle]
        complete = batch["weight"].numpy().all(1)
        flat = newest[complete].astype(np.float64)
        inputs.append(np.concatenate([np.ones((len(flat), 1)), flat], 1))
        wanted.append(left[complete].astype(np.float64))
    return np.concatenate(inputs), np.concatenate(wanted)
