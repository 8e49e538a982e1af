"""One optimiser step that is exact for any division of the global batch over ranks.

Each rank reduces the *sum* of its loss gradient over valid targets. The number of valid targets,
the loss sum and wishes to stop or save ride in the same collective; the division comes after. So an
uneven, even an empty, part of the batch changes nothing but the order of the float sums. (An
average of per-rank means would weigh a target by the share of its rank.)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hvd_nowcast.models.tracing import as_graph
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.training.task import Task


class StepResult(NamedTuple):
    """Sums over all ranks of one step, the same on every rank.

    Attributes
    ----------
    loss
        Mean loss over the valid targets of the global batch; 0 where there are none.
    valid
        Number of valid targets.
    finite
        False when the loss or a gradient was NaN or infinite; no update was made then.
    stop, save
        Whether any rank asked to stop, or to save.
    gradient_norm
        Global norm before clipping.
    """

    loss: tf.Tensor
    valid: tf.Tensor
    finite: tf.Tensor
    stop: tf.Tensor
    save: tf.Tensor
    gradient_norm: tf.Tensor


class TrainingStep:
    """Forward, backward, one sum over ranks, update.

    Parameters
    ----------
    task
        The model and its loss.
    optimiser
        Built for the model.
    communicator
        Sums over ranks.
    clip_norm
        Largest global norm of the averaged gradient, or None.
    pieces
        The rank's part is computed in so many pieces, at most its samples, one after another.
    compress
        Gradients travel in float16.
    variables
        What is trained; all trainable weights of the model when None.

    Attributes
    ----------
    compute_seconds
        What the newest step took on this rank before the exchange.
    most_samples
        Samples that fit into this rank's memory at once; more are computed in pieces.
    """

    def __init__(
        self,
        task: Task,
        optimiser: keras.Optimizer,
        communicator: Communicator,
        clip_norm: float | None = None,
        pieces: int = 1,
        compress: bool = False,
        variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        self._task = task
        self._optimiser = optimiser
        self._communicator = communicator
        self._clip_norm = clip_norm
        self._pieces = pieces
        self._compress = compress
        variables = list(variables or task.model.trainable_variables)
        self._variables = task.branches.trained(variables) if task.branches else variables
        self.compute_seconds = 0.0
        self.most_samples: int | None = None
        self._whole = as_graph(self._train)
        self._compute = as_graph(self._local_sums)
        self._rest = as_graph(self._exchange)
        self._sums = as_graph(self._evaluate)

    def train(
        self, batch: Any, learning_rate: float, stop: bool = False, save: bool = False
    ) -> StepResult:
        """Update the model with this rank's part of a global batch.

        Parameters
        ----------
        batch
            Tensors of shape (b, ...), nested as the task likes; b may be 0.
        learning_rate
            Of this step.
        stop, save
            Whether this rank wants to stop after the step, or to save its state.
        """
        started = time.perf_counter()
        scalars = _scalars(learning_rate, stop, save)
        pieces = self._pieces_of(batch)
        if not pieces:
            self.compute_seconds = 0.0
            return StepResult(*self._rest(self._nothing(), *scalars))
        computed, result = self._whole(batch, pieces, *scalars)
        self.compute_seconds = float(computed) - started
        return StepResult(*result)

    def compute(self, batch: Any) -> list[tf.Tensor]:
        """Gradients, loss sum and valid targets of this rank; nothing is changed."""
        started = time.perf_counter()
        pieces = self._pieces_of(batch)
        sums: list[tf.Tensor] = self._compute(batch, pieces) if pieces else self._nothing()
        sums[0].numpy()  # Waits for a GPU.
        self.compute_seconds = time.perf_counter() - started
        return sums

    def update(self, sums: list[tf.Tensor], learning_rate: float) -> StepResult:
        """Add up what `compute` gave on every rank, and update the model."""
        return StepResult(*self._rest(sums, *_scalars(learning_rate, False, False)))

    def is_finite(self, batch: Any) -> bool:
        """Whether this rank's own gradients and loss of a batch are finite."""
        return all(bool(tf.reduce_all(tf.math.is_finite(part))) for part in self.compute(batch))

    def evaluate(self, batch: Any) -> tf.Tensor:
        """Loss sum and valid targets of a batch on this rank, float64 of shape (2,)."""
        return self._sums(batch)

    def _pieces_of(self, batch: Any) -> int:
        samples = samples_in(batch)
        needed = -(-samples // self.most_samples) if self.most_samples else 1
        return min(max(self._pieces, needed), samples)

    def _evaluate(self, batch: Any) -> tf.Tensor:
        sums = tf.stack(self._task.forward(batch, False))
        return self._task.planned_targets * tf.cast(sums, tf.float64)

    def _nothing(self) -> list[tf.Tensor]:
        # TensorFlow's convolutions fail on no sample at all. As inputs of the exchange, not inside
        # its graph: control dependencies of constants are optimised away.
        zero = tf.zeros((), self._task.model.output.dtype)
        return [*(tf.zeros_like(variable.value) for variable in self._variables), zero, zero]

    def _train(
        self, batch: Any, pieces: int, learning_rate: tf.Tensor, wishes: tf.Tensor
    ) -> tuple[tf.Tensor, StepResult]:
        sums = self._local_sums(batch, pieces)
        # What a rank computes must be told from what it waits for. tf.timestamp is forbidden in
        # runs that can be repeated; a number handed to Python also waits for a GPU.
        computed = tf.numpy_function(_now, [tf.reduce_sum(sums[0])], tf.float64)
        return computed, self._exchange(sums, learning_rate, wishes)

    def _local_sums(self, batch: Any, pieces: int) -> list[tf.Tensor]:
        """Gradient of the loss sum, the sum itself and the valid targets of this rank."""
        variables = [variable.value for variable in self._variables]
        totals: list[tf.Tensor] = []
        for piece in range(pieces):
            # One piece after the other, or they would need the memory of all at once.
            with tf.control_dependencies(totals), tf.GradientTape() as tape:
                loss_sum, valid = self._task.forward(_piece(batch, piece, pieces), True)
            # A rank without a branch has no part in what all branches share.
            gradients = tape.gradient(
                loss_sum, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            sums = [*gradients, loss_sum, valid]
            totals = [a + b for a, b in zip(totals, sums, strict=True)] if totals else sums
        return totals

    def _exchange(
        self, parts: list[tf.Tensor], learning_rate: tf.Tensor, wishes: tf.Tensor
    ) -> StepResult:
        # No argument may be called like a collective: TensorFlow would number the collective, and
        # Horovod matches collectives of different graphs by their names.
        *gradients, loss_sum, valid = parts
        facts = tf.concat([[loss_sum, valid], tf.cast(wishes, loss_sum.dtype)], 0)
        gradients, facts = self._sum_over_ranks(gradients, facts)
        loss_sum, valid, stop, save = tf.unstack(facts)
        norm = tf.math.divide_no_nan(self._norm(gradients), valid)
        # A NaN on any rank is a NaN in the sums.
        finite = tf.math.is_finite(loss_sum) & tf.math.is_finite(norm)
        rate = self._optimiser.learning_rate
        rate.assign(tf.cast(learning_rate, rate.dtype))

        def apply() -> tf.Tensor:
            # Division and clipping in one multiplication: gradients pass through memory once.
            factor = tf.math.divide_no_nan(self._clip(norm), valid)
            mean = [tf.cast(factor, gradient.dtype) * gradient for gradient in gradients]
            self._optimiser.apply(mean, self._variables)
            return True

        tf.cond(finite, apply, lambda: False)
        loss = tf.math.divide_no_nan(loss_sum, valid)
        valid *= self._task.planned_targets
        return StepResult(loss, valid, finite, stop > 0.5, save > 0.5, norm)

    def _norm(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        if self._task.branches is None:
            return tf.linalg.global_norm(gradients)
        return tf.sqrt(self._task.branches.squared_norm(self._variables, gradients))

    def _clip(self, norm: tf.Tensor) -> tf.Tensor:
        one = tf.ones_like(norm)
        return (
            one if self._clip_norm is None else self._clip_norm / tf.maximum(norm, self._clip_norm)
        )

    def _sum_over_ranks(
        self, gradients: list[tf.Tensor], facts: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        if self._task.branches is not None:
            return self._task.branches.sum_gradients(self._variables, gradients, facts)
        if not self._compress:
            *gradients, facts = self._communicator.sum_tensors([*gradients, facts])
            return gradients, facts
        # One collective takes one type, and counts would not survive float16.
        half = [tf.cast(gradient, tf.float16) for gradient in gradients]
        half = self._communicator.sum_tensors(half, name="compressed")
        (facts,) = self._communicator.sum_tensors([facts])
        return [tf.cast(h, g.dtype) for h, g in zip(half, gradients, strict=True)], facts


def _now(_: Any) -> np.float64:
    return np.float64(time.perf_counter())


def samples_in(batch: Any) -> int:
    """Number of samples of a batch on this rank."""
    return int(tf.nest.flatten(batch)[0].shape[0])


def _piece(batch: Any, piece: int, pieces: int) -> Any:
    if pieces == 1:
        return batch
    count = tf.shape(tf.nest.flatten(batch)[0])[0]
    first, last = count * piece // pieces, count * (piece + 1) // pieces
    return tf.nest.map_structure(lambda tensor: tensor[first:last], batch)


def _scalars(learning_rate: float, stop: bool, save: bool) -> tuple[tf.Tensor, tf.Tensor]:
    wishes = tf.constant([float(stop), float(save)], tf.float32)
    return tf.constant(learning_rate, tf.float64), wishes
