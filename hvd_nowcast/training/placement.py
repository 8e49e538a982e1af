"""Which rank gets which branch of a network, by what each takes on each rank."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hvd_nowcast import console
from hvd_nowcast.config import BranchesSection
from hvd_nowcast.models.tracing import as_graph
from hvd_nowcast.parallel.branches import Branches
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.parallel.layout import ReplicaLayout, place_branches
from hvd_nowcast.parallel.traffic import NetworkSizes

# Branches are timed so often, and the best time counts.
PROBED_STEPS = 4


@dataclass(frozen=True)
class NetworkParts:
    """A network that can be divided over ranks.

    Attributes
    ----------
    model
        The whole.
    branches
        Parts of it that may lie on different ranks; their last axis holds their features.
    shared
        Variables that several branches have.
    """

    model: keras.Model
    branches: Sequence[keras.Model]
    shared: Sequence[keras.Variable] = ()

    def of_branches(self) -> list[list[keras.Variable]]:
        """Variables of each branch that no other part has."""
        several = {id(variable) for variable in self.shared}
        return [[v for v in b.trainable_variables if id(v) not in several] for b in self.branches]

    def of_head(self) -> list[keras.Variable]:
        """Variables that no branch has."""
        in_branches = {id(v) for branch in self.branches for v in branch.trainable_variables}
        return [v for v in self.model.trainable_variables if id(v) not in in_branches]

    def sizes(self, positions: int) -> NetworkSizes:
        """What of the network travels.

        Parameters
        ----------
        positions
            Time steps or pixels of a sample that a branch gives features for.
        """
        branches = tuple(_count(part) for part in self.of_branches())
        features = positions * int(self.branches[0].output.shape[-1])
        return NetworkSizes(branches, _count(self.shared), _count(self.of_head()), features)


def _count(variables: Sequence[keras.Variable]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)


def spread_branches(
    communicator: Communicator, section: BranchesSection, parts: NetworkParts, inputs: Sequence[Any]
) -> Branches:
    """Divide branches over the ranks of every replica by their cost and the ranks' speed.

    Parameters
    ----------
    communicator
        All ranks; the call is collective.
    section
        Ranks of a replica, and whether the head is on its own.
    parts
        Of the network.
    inputs
        What each branch is timed with.
    """
    width = section.ranks_per_replica or communicator.size
    layout = ReplicaLayout(communicator.rank, communicator.size, width, section.head_alone)
    seconds = [_seconds(b, given) for b, given in zip(parts.branches, inputs, strict=True)]
    times = np.array(communicator.gather(seconds))
    costs = times.mean(0)
    # One placement for all replicas: a place is as fast as its slowest rank.
    places = (1.0 / times.sum(1)).reshape(layout.replicas, layout.width).min(0)
    owners = place_branches(costs.tolist(), places[layout.branch_places].tolist())
    if communicator.rank == 0:
        text = ", ".join(f"{1e3 * cost:.0f} ms" for cost in costs)
        console.note(f"branches of {text} on places {owners} of {layout.replicas} replicas")
    return Branches(communicator, layout, owners, parts.of_branches(), parts.of_head())


def _seconds(branch: keras.Model, inputs: Any) -> float:
    """What forward and backward of a branch take here."""

    @as_graph
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
