"""Which rank gets which branch of a network, by what each takes on each rank."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hvd_nowcast import console
from hvd_nowcast.parallel.branches import Branches, ReplicaLayout, place_branches
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.parallel.traffic import NetworkSizes

# Branches are timed so often, and the best time counts.
PROBED_STEPS = 4


def spread_branches(
    communicator: Communicator,
    width: int,
    branches: Sequence[keras.Model],
    inputs: Sequence[Any],
    shared: Sequence[keras.Variable] = (),
) -> Branches:
    """Divide branches over the ranks of every replica by their cost and the ranks' speed.

    Parameters
    ----------
    communicator
        All ranks; the call is collective.
    width
        Ranks of a replica, 0 for all of them.
    branches
        Parts of the network that may lie on different ranks.
    inputs
        What each is timed with.
    shared
        Variables that several of them have.
    """
    layout = ReplicaLayout(communicator.rank, communicator.size, width or communicator.size)
    seconds = [_seconds(branch, given) for branch, given in zip(branches, inputs, strict=True)]
    times = np.array(communicator.gather(seconds))
    costs = times.mean(0)
    # One placement for all replicas: a place is as fast as its slowest rank.
    places = (1.0 / times.sum(1)).reshape(layout.replicas, layout.width).min(0)
    owners = place_branches(costs.tolist(), places.tolist())
    own = _own_variables(branches, shared)
    if communicator.rank == 0:
        text = ", ".join(f"{1e3 * cost:.0f} ms" for cost in costs)
        console.note(f"branches of {text} on places {owners} of {layout.replicas} replicas")
    return Branches(communicator, layout.width, owners, own)


def network_sizes(
    model: keras.Model,
    branches: Sequence[keras.Model],
    shared: Sequence[keras.Variable],
    positions: int,
) -> NetworkSizes:
    """What of a network travels.

    Parameters
    ----------
    model
        The whole network.
    branches
        Its branches, whose last axis holds their features.
    shared
        Variables that several branches have.
    positions
        Time steps or pixels of a sample that a branch gives features for.
    """
    own = _own_variables(branches, shared)
    counts = tuple(sum(math.prod(v.shape) for v in part) for part in own)
    whole = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    features = positions * int(branches[0].output.shape[-1])
    return NetworkSizes(counts, whole - sum(counts), features)


def _own_variables(
    branches: Sequence[keras.Model], shared: Sequence[keras.Variable]
) -> list[list[keras.Variable]]:
    several = {id(variable) for variable in shared}
    return [[v for v in part.trainable_variables if id(v) not in several] for part in branches]


def _seconds(branch: keras.Model, inputs: Any) -> float:
    """What forward and backward of a branch take here."""

    @tf.function(jit_compile=False)  # type: ignore[untyped-decorator]
    def take() -> tf.Tensor:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(branch(inputs))
        gradients = tape.gradient(total, branch.trainable_variables)
        return total + sum(tf.reduce_sum(g) for g in gradients if g is not None)

    times = []
    for _ in range(PROBED_STEPS):
        started = time.perf_counter()
        take().numpy()
        times.append(time.perf_counter() - started)
    return min(times)
