"""Branches of one network on different ranks: what travels between them.

The ranks form replicas of equal size. Each replica takes a part of the global batch; inside it,
every rank computes its own branches for the whole part, the features are exchanged, and each rank
carries a slice of the samples through the rest of the network, or one rank without a branch
carries all of them. Gradients of the features go back the same way, so those of a branch are exact
on its rank. Nothing is computed twice, and no result depends on the placement but by the order of
float sums.

Traffic: a branch's gradients are summed over the replicas' ranks that hold it, those of the rest
over all ranks that carry samples; features travel only inside a replica, each to the one rank that
carries its sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.parallel.layout import ReplicaLayout


class Branches:
    """The branches of a network on the ranks of a replica.

    Parameters
    ----------
    communicator
        All ranks.
    layout
        How they form replicas.
    owners
        Place inside a replica of each branch, the same on all ranks; see `place_branches`.
    variables
        Trainable variables of each branch that no other part has.
    head
        Those of the rest of the network, which one rank alone has when the head is on its own.
    """

    def __init__(
        self,
        communicator: Communicator,
        layout: ReplicaLayout,
        owners: Sequence[int],
        variables: Sequence[Sequence[keras.Variable]],
        head: Sequence[keras.Variable] = (),
    ) -> None:
        self._communicator = communicator
        self.layout = layout
        self.owners = list(owners)
        self._parts = [list(part) for part in variables]
        self._part_owners = list(owners)
        if layout.head_alone:
            self._parts.append(list(head))
            self._part_owners.append(layout.width - 1)
        self._inside = communicator.group(layout.inside)
        self._across = communicator.group(layout.across)
        self._places = [self.branches_of(place) for place in range(layout.width)]

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
        place = self.layout.position
        others = {
            id(variable)
            for part, owner in zip(self._parts, self._part_owners, strict=True)
            if owner != place
            for variable in part
        }
        return [variable for variable in variables if id(variable) not in others]

    def my_samples(self, samples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """First sample of the replica's batch that this rank carries on, and the one after."""
        return self.layout.carried(self.layout.position, samples)

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
        place, counts = self.layout.position, [len(branches) for branches in self._places]
        parts = [self.layout.carried(p, tf.shape(like)[0]) for p in range(self.layout.width)]
        carried = [stop - start for start, stop in parts]
        row = (like.shape[1], width)

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def exchanged(mine: tf.Tensor) -> tuple[tf.Tensor, Any]:
            sent = [mine[:, start:stop] for start, stop in parts]
            shapes = [(count, carried[place], *row) for count in counts]
            received = self._all_to_all(sent, shapes, "branch_features")

            def back(upstream: tf.Tensor) -> tf.Tensor:
                shapes = [(counts[place], samples, *row) for samples in carried]
                sent = tf.split(upstream, counts)
                return tf.concat(self._all_to_all(sent, shapes, "branch_gradients"), 1)

            return tf.concat(received, 0), back

        mine = tf.stack(features) if features else self._no_features(like, width)
        by_place = tf.unstack(exchanged(mine), len(self.owners))
        order = [branch for branches in self._places for branch in branches]
        return tf.concat([by_place[order.index(b)] for b in range(len(order))], -1)

    def _all_to_all(
        self, sent: Sequence[tf.Tensor], shapes: Sequence[Sequence[Any]], name: str
    ) -> list[tf.Tensor]:
        """Give each rank of the replica its tensor, and take one of a known shape from each."""
        flat = [tf.reshape(part, [-1]) for part in sent]
        counts = tf.stack([tf.size(part) for part in flat])
        received = self._inside.all_to_all(tf.concat(flat, 0), counts, name)
        sizes = [tf.reduce_prod(shape) for shape in shapes]
        return [
            tf.reshape(part, shape)
            for part, shape in zip(tf.split(received, sizes), shapes, strict=True)
        ]

    def _no_features(self, like: tf.Tensor, width: int) -> tf.Tensor:
        # As a part of a variable: a constant would need no gradient, and the others would wait for
        # ever for the collective that brings it.
        nothing = tf.reshape(self._parts[-1][0].value, [-1])[:0]
        return tf.reshape(nothing, (0, tf.shape(like)[0], like.shape[1], width))

    def sum_gradients(
        self, variables: Sequence[keras.Variable], gradients: list[tf.Tensor], facts: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Sum what some ranks hold over the replicas, and everything else over all ranks."""
        own = self._is_own(variables)
        shared = [g for g, mine in zip(gradients, own, strict=True) if not mine]
        # One collective after the other, on every rank in the same order: with a single thread,
        # ranks that begin with different ones would wait for each other for ever.
        with tf.control_dependencies(gradients):
            facts = tf.identity(facts)
        *shared, facts = self._communicator.sum_tensors([*shared, facts])
        with tf.control_dependencies([facts]):
            part = [tf.identity(g) for g, mine in zip(gradients, own, strict=True) if mine]
        name = f"branches_{self.layout.position}"
        part = self._across.sum_tensors(part, name) if part else []
        rest, mine = iter(shared), iter(part)
        return [next(mine if is_own else rest) for is_own in own], facts

    def squared_norm(
        self, variables: Sequence[keras.Variable], gradients: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        """Squared norm of the whole network's gradient, the same on all ranks."""
        own = self._is_own(variables)
        squares = [2.0 * tf.nn.l2_loss(gradient) for gradient in gradients]
        none = [tf.zeros_like(squares[0])]
        shared = tf.add_n([s for s, mine in zip(squares, own, strict=True) if not mine] or none)
        part = tf.add_n([s for s, mine in zip(squares, own, strict=True) if mine] or none)
        # The shared part travels only so that this collective comes after all others.
        name = f"norm_{self.layout.replica}"
        (both,) = self._inside.sum_tensors([tf.stack([part, shared])], name)
        return shared + both[0]

    def gather_weights(self, optimiser: keras.Optimizer) -> None:
        """Give every rank the parts of others, with what the optimiser knows of them."""
        if self.alone:
            return
        for variables, owner in zip(self._parts, self._part_owners, strict=True):
            prefixes = tuple(f"{optimiser.name}/{v.path.replace('/', '_')}_" for v in variables)
            slots = [slot for slot in optimiser.variables if slot.path.startswith(prefixes)]
            if variables:
                self._communicator.broadcast_variables([*variables, *slots], owner)

    def _is_own(self, variables: Sequence[keras.Variable]) -> list[bool]:
        """Whether this place alone of its replica holds a variable."""
        parts = {id(variable) for part in self._parts for variable in part}
        return [id(variable) in parts for variable in variables]


def at_least_one(tensor: tf.Tensor) -> tf.Tensor:
    """The tensor, or one sample of zeros where it has none: layers fail on no sample at all."""
    missing = tf.maximum(0, 1 - tf.shape(tensor)[0])
    # Not by tf.pad: TensorFlow melts a pad and two convolutions behind it into a wrong one.
    return tf.concat([tensor, tf.zeros((missing, *tensor.shape[1:]), tensor.dtype)], 0)
