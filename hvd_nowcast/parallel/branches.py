"""Branches of one network on different ranks: where each goes, and what travels.

The ranks form replicas of equal size. Each replica takes a part of the global batch; inside it,
every rank computes its own branches for the whole part, the features are exchanged, and each rank
carries a slice of the samples through the rest of the network. Gradients of the features go back
the same way, so those of a branch are exact on its rank. Nothing is computed twice, and no result
depends on the placement but by the order of float sums.

Traffic: a branch's gradients are summed over the replicas' ranks that hold it, those of the rest
over all ranks; features travel only inside a replica.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.parallel.communicator import Communicator

# Up to so many placements are all tried; beyond, the heaviest branch goes first.
MOST_PLACEMENTS = 20_000


def place_branches(costs: Sequence[float], speeds: Sequence[float]) -> list[int]:
    """Rank of each branch, so that the last rank ends as early as can be; none is left without.

    Parameters
    ----------
    costs
        Work of each branch.
    speeds
        Work per second of each rank of a replica.

    Raises
    ------
    ConfigError
        When there are more ranks than branches.
    """
    if len(speeds) > len(costs):
        raise ConfigError(
            f"branches.ranks_per_replica is {len(speeds)}, but the network has only {len(costs)} "
            "branches: use fewer ranks in a replica, or more heads"
        )

    def end(placed: Iterable[int]) -> float:
        work = [0.0] * len(speeds)
        for owner, cost in zip(placed, costs, strict=True):
            work[owner] += cost / speeds[owner]
        return max(work)

    if len(speeds) ** len(costs) <= MOST_PLACEMENTS:
        every = (
            tried
            for tried in itertools.product(range(len(speeds)), repeat=len(costs))
            if len(set(tried)) == len(speeds)
        )
        return list(min(every, key=lambda tried: (end(tried), tried)))
    owners = [0] * len(costs)
    work = [0.0] * len(speeds)
    # Longest first (Graham 1969): at most a third worse than the best for equal ranks.
    for turn, branch in enumerate(sorted(range(len(costs)), key=lambda b: -costs[b])):
        idle = [rank for rank in range(len(speeds)) if not work[rank]]
        last_chance = len(costs) - turn <= len(idle)
        ranks = idle if last_chance else range(len(speeds))
        rank = min(ranks, key=lambda r: work[r] + costs[branch] / speeds[r])
        owners[branch] = rank
        work[rank] += costs[branch] / speeds[rank]
    return owners


@dataclass(frozen=True)
class ReplicaLayout:
    """How the ranks are divided.

    Attributes
    ----------
    rank, size
        This process and the number of processes.
    width
        Ranks of a replica.
    """

    rank: int
    size: int
    width: int

    def __post_init__(self) -> None:
        """Refuse what does not divide.

        Raises
        ------
        ConfigError
            When replicas would be of different sizes.
        """
        if self.size % self.width:
            raise ConfigError(
                f"branches.ranks_per_replica is {self.width}, which does not divide {self.size} "
                "ranks: choose a divisor, or 0 for one replica of all ranks"
            )

    @property
    def replica(self) -> int:
        """Number of this rank's replica."""
        return self.rank // self.width

    @property
    def replicas(self) -> int:
        """Number of replicas."""
        return self.size // self.width

    @property
    def position(self) -> int:
        """Place of this rank inside its replica."""
        return self.rank % self.width

    def batch_part(self, shares: Sequence[int]) -> slice:
        """Part of the global batch that this rank's replica takes."""
        first = self.replica * self.width
        start = sum(shares[:first])
        return slice(start, start + sum(shares[first : first + self.width]))

    @property
    def inside(self) -> list[list[int]]:
        """Ranks of each replica."""
        return [list(range(first, first + self.width)) for first in range(0, self.size, self.width)]

    @property
    def across(self) -> list[list[int]]:
        """Ranks of the same place in every replica."""
        return [list(range(place, self.size, self.width)) for place in range(self.width)]


class Branches:
    """The branches of a network on the ranks of a replica.

    Parameters
    ----------
    communicator
        All ranks.
    width
        Ranks of a replica; 0 means all of them.
    owners
        Place inside a replica of each branch, the same on all ranks; see `place_branches`.
    variables
        Trainable variables of each branch that no other part has.
    """

    def __init__(
        self,
        communicator: Communicator,
        width: int,
        owners: Sequence[int],
        variables: Sequence[Sequence[keras.Variable]],
    ) -> None:
        self._communicator = communicator
        self.layout = ReplicaLayout(
            communicator.rank, communicator.size, width or communicator.size
        )
        self.owners = list(owners)
        self._branch_variables = [list(part) for part in variables]
        self._inside = communicator.group(self.layout.inside)
        self._across = communicator.group(self.layout.across)
        order = [b for place in range(self.layout.width) for b in self.branches_of(place)]
        # Features arrive in the order of the ranks.
        self._order = [order.index(branch) for branch in range(len(order))]

    @property
    def alone(self) -> bool:
        """Whether every rank holds the whole network."""
        return self.layout.width == 1

    def branches_of(self, place: int) -> list[int]:
        """Branches of one place in a replica."""
        return [branch for branch, owner in enumerate(self.owners) if owner == place]

    @property
    def mine(self) -> list[int]:
        """Branches of this rank."""
        return self.branches_of(self.layout.position)

    def trained(self, variables: Sequence[keras.Variable]) -> list[keras.Variable]:
        """Those of a model's variables that this rank updates, in their order."""
        others = {
            id(variable)
            for branch, part in enumerate(self._branch_variables)
            if branch not in self.mine
            for variable in part
        }
        return [variable for variable in variables if id(variable) not in others]

    def my_samples(self, samples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """First sample of the replica's batch that this rank carries on, and the one after."""
        width, place = self.layout.width, self.layout.position
        return samples * place // width, samples * (place + 1) // width

    def exchange(self, features: Sequence[tf.Tensor], width: int, like: tf.Tensor) -> tf.Tensor:
        """From own features of all samples to all features of own samples.

        Parameters
        ----------
        features
            Of each own branch, shape (b, t, width).
        width
            Features of a branch.
        like
            A tensor of shape (b, t, ...), which tells b and t to a rank without a branch.

        Returns
        -------
        tensorflow.Tensor
            Shape (own samples, t, branches * width), branches in their order.
        """
        samples, steps = tf.shape(like)[0], like.shape[1]
        # Horovod joins along the first axis, whose length may differ between ranks.
        parts = [tf.transpose(part, (2, 0, 1)) for part in features]
        mine = tf.concat(parts, 0) if parts else tf.zeros((0, samples, steps), like.dtype)
        start, stop = self.my_samples(samples)
        first_row = width * sum(len(self.branches_of(p)) for p in range(self.layout.position))
        rows = width * len(self.mine)

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def exchanged(mine: tf.Tensor) -> tuple[tf.Tensor, Any]:
            whole = self._inside.concatenate(mine, "branch_features")

            def back(upstream: tf.Tensor) -> tf.Tensor:
                # Horovod's own gradient of this operation is an average, and of all samples.
                by_sample = tf.transpose(upstream, (1, 0, 2))
                gradients = self._inside.concatenate(by_sample, "branch_gradients")
                return tf.transpose(gradients, (1, 0, 2))[first_row : first_row + rows]

            return whole[:, start:stop], back

        together = tf.reshape(exchanged(mine), (len(self.owners), width, stop - start, steps))
        ordered = tf.gather(together, self._order)
        joined = tf.reshape(ordered, (len(self.owners) * width, stop - start, steps))
        return tf.transpose(joined, (1, 2, 0))

    def sum_gradients(
        self, variables: Sequence[keras.Variable], gradients: list[tf.Tensor], facts: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Sum branches over the replicas, and everything else over all ranks."""
        own = self._is_own(variables)
        shared = [g for g, mine in zip(gradients, own, strict=True) if not mine]
        *shared, facts = self._communicator.sum_tensors([*shared, facts])
        # One collective after the other, on every rank in the same order: with a single thread,
        # ranks that begin with different ones would wait for each other for ever.
        with tf.control_dependencies(shared):
            branch = [tf.identity(g) for g, mine in zip(gradients, own, strict=True) if mine]
        name = f"branches_{self.layout.position}"
        branch = self._across.sum_tensors(branch, name) if branch else []
        rest, mine = iter(shared), iter(branch)
        return [next(mine if is_own else rest) for is_own in own], facts

    def squared_norm(
        self, variables: Sequence[keras.Variable], gradients: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        """Squared norm of the whole network's gradient, the same on all ranks."""
        own = self._is_own(variables)
        squares = [2.0 * tf.nn.l2_loss(gradient) for gradient in gradients]
        shared = tf.add_n([s for s, mine in zip(squares, own, strict=True) if not mine])
        branch = tf.add_n([s for s, mine in zip(squares, own, strict=True) if mine])
        # The shared part travels only so that this collective comes after all others.
        name = f"norm_{self.layout.replica}"
        (both,) = self._inside.sum_tensors([tf.stack([branch, shared])], name)
        return shared + both[0]

    def gather_weights(self, optimiser: keras.Optimizer) -> None:
        """Give every rank the branches of others, with what the optimiser knows of them."""
        if self.alone:
            return
        for branch, owner in enumerate(self.owners):
            variables: list[Any] = list(self._branch_variables[branch])
            prefixes = tuple(f"{optimiser.name}/{v.path.replace('/', '_')}_" for v in variables)
            slots = [slot for slot in optimiser.variables if slot.path.startswith(prefixes)]
            if variables:
                self._communicator.broadcast_variables([*variables, *slots], owner)

    def _is_own(self, variables: Sequence[keras.Variable]) -> list[bool]:
        mine = {id(v) for branch in self.mine for v in self._branch_variables[branch]}
        return [id(variable) in mine for variable in variables]


def at_least_one(tensor: tf.Tensor) -> tf.Tensor:
    """The tensor, or one sample of zeros where it has none: layers fail on no sample at all."""
    missing = tf.maximum(0, 1 - tf.shape(tensor)[0])
    return tf.pad(tensor, [[0, missing]] + [[0, 0]] * (len(tensor.shape) - 1))
