"""One optimiser step that is exact for any division of the global batch over ranks.

Each rank reduces the *sum* of its loss gradient over valid pixels. The number of valid pixels, the
loss sum and a finite flag ride in the same collective; the division comes after. So an uneven, even
an empty, part of the batch changes nothing but the order of the float sums. (An average of
per-rank means would weigh a pixel by the share of its rank.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import keras
import tensorflow as tf

from hvd_nowcast.config import OptimiserSection
from hvd_nowcast.loader.pipeline import Batch
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.training.loss import NowcastLoss


class StepResult(NamedTuple):
    """Sums over all ranks of one step.

    Attributes
    ----------
    loss
        Mean loss over the valid pixels of the global batch; 0 where there are none.
    valid
        Number of valid pixels.
    finite
        True when loss and gradients were finite on every rank; else no update was made.
    gradient_norm
        Global norm before clipping.
    """

    loss: tf.Tensor
    valid: tf.Tensor
    finite: tf.Tensor
    gradient_norm: tf.Tensor


def build_optimiser(section: OptimiserSection, model: keras.Model) -> keras.Optimizer:
    """Make the optimiser with its slots, so that a checkpoint can fill them before step 0."""
    kinds = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
    # A fixed name: Keras numbers its own by what this process built before.
    optimiser = kinds[section.name](
        learning_rate=section.learning_rate,
        name="optimiser",
        use_ema=section.averaging > 0,
        ema_momentum=section.averaging,
    )
    optimiser.build(model.trainable_variables)
    return optimiser


@contextmanager
def averaged_weights(model: keras.Model, optimiser: keras.Optimizer) -> Iterator[None]:
    """Give the model the running mean of its weights for a while, where there is one.

    The mean of many steps is better and steadier than the last step (Polyak and Juditsky 1992,
    doi:10.1137/0330046).
    """
    if not optimiser.use_ema:
        yield
        return
    last = [variable.numpy() for variable in model.trainable_variables]
    optimiser.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, last, strict=True):
            variable.assign(value)


class TrainingStep:
    """Decode, forward, backward, one sum over ranks, update.

    Parameters
    ----------
    model, optimiser
        What is trained, and how; the optimiser is built.
    decoder
        Stored codes to a `Batch`.
    loss
        Sum over valid pixels.
    communicator
        Sums over ranks.
    clip_norm
        Largest global norm of the averaged gradient, or None.
    pixels
        Planned number of target pixels of a global batch. Sums travel divided by this constant,
        which keeps them near 1: float32 counts exactly only to 2**24.
    """

    def __init__(
        self,
        model: keras.Model,
        optimiser: keras.Optimizer,
        decoder: Callable[[tf.Tensor], Batch],
        loss: NowcastLoss,
        communicator: Communicator,
        clip_norm: float | None,
        pixels: int,
    ) -> None:
        self._model = model
        self._optimiser = optimiser
        self._decode = decoder
        self._loss = loss
        self._communicator = communicator
        self._clip_norm = clip_norm
        self._pixels = float(pixels)
        # No XLA: it was 1.6 times slower on a CPU, and it cannot hold Horovod's operations.
        self._step = tf.function(self._take, jit_compile=False, reduce_retracing=True)
        self._sums = tf.function(self._evaluate, jit_compile=False, reduce_retracing=True)

    def train(self, codes: tf.Tensor, learning_rate: float) -> StepResult:
        """Update the model with this rank's part of a global batch."""
        return self._step(codes, tf.constant(learning_rate, tf.float32))

    def evaluate(self, codes: tf.Tensor) -> tf.Tensor:
        """Loss sum and valid pixels of a batch on this rank, shape (2,)."""
        return self._sums(codes)

    def _forward(self, batch: Batch, training: bool) -> tf.Tensor:
        forecast = self._model([batch.inputs, batch.valid_inputs], training=training)
        return self._loss(forecast, batch.target, batch.weight)

    def _evaluate(self, codes: tf.Tensor) -> tf.Tensor:
        batch = self._decode(codes)
        return tf.stack([self._forward(batch, False), tf.reduce_sum(batch.weight)])

    def _take(self, codes: tf.Tensor, learning_rate: tf.Tensor) -> StepResult:
        batch = self._decode(codes)
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            loss_sum = self._forward(batch, True) / self._pixels
        gradients = tape.gradient(loss_sum, [variable.value for variable in variables])
        valid = tf.reduce_sum(batch.weight) / self._pixels
        local_norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(loss_sum) & tf.math.is_finite(local_norm)
        facts = tf.stack([loss_sum, valid, tf.cast(finite, loss_sum.dtype)])
        *gradients, facts = self._communicator.sum_tensors([*gradients, facts])
        return self._update(gradients, facts, learning_rate)

    def _update(
        self, gradients: list[tf.Tensor], facts: tf.Tensor, learning_rate: tf.Tensor
    ) -> StepResult:
        loss_sum, valid, finite_ranks = tf.unstack(facts)
        finite = finite_ranks > self._communicator.size - 0.5
        gradients = [tf.math.divide_no_nan(gradient, valid) for gradient in gradients]
        norm = tf.linalg.global_norm(gradients)
        if self._clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm, norm)
        self._optimiser.learning_rate.assign(learning_rate)

        def apply() -> tf.Tensor:
            self._optimiser.apply(gradients, self._model.trainable_variables)
            return True

        tf.cond(finite, apply, lambda: False)
        loss = tf.math.divide_no_nan(loss_sum, valid)
        return StepResult(loss, valid * self._pixels, finite, norm)
