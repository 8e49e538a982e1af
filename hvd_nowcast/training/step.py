"""One optimiser step that is exact for any division of the global batch over ranks.

Each rank reduces the *sum* of its loss gradient over valid pixels. The number of valid pixels, the
loss sum, a wish to stop and a flag per rank for values that are not finite ride in the same
collective; the division comes after. So an uneven, even an empty, part of the batch changes nothing
but the order of the float sums. (An average of per-rank means would weigh a pixel by the share of
its rank.)
"""

from __future__ import annotations

import time
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
    """Sums over all ranks of one step, the same on every rank.

    Attributes
    ----------
    loss
        Mean loss over the valid pixels of the global batch; 0 where there are none.
    valid
        Number of valid pixels.
    not_finite
        1 for each rank whose loss or gradient was NaN or infinite, shape (ranks,); with any of
        them no update was made.
    stop
        Whether any rank asked to stop.
    gradient_norm
        Global norm before clipping.
    """

    loss: tf.Tensor
    valid: tf.Tensor
    not_finite: tf.Tensor
    stop: tf.Tensor
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
    pieces
        The rank's part is computed in so many pieces, at most its samples, one after another.
    compress
        Gradients travel in float16.

    Attributes
    ----------
    compute_seconds
        What the newest step took on this rank before the exchange.
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
        pieces: int = 1,
        compress: bool = False,
    ) -> None:
        self._model = model
        self._optimiser = optimiser
        self._decode = decoder
        self._loss = loss
        self._communicator = communicator
        self._clip_norm = clip_norm
        self._pixels = float(pixels)
        self._pieces = pieces
        self._compress = compress
        self.compute_seconds = 0.0
        # No XLA: it was 1.6 times slower on a CPU, and it cannot hold Horovod's operations.
        self._compute = tf.function(self._local_sums, jit_compile=False, reduce_retracing=True)
        self._rest = tf.function(self._exchange, jit_compile=False)
        self._sums = tf.function(self._evaluate, jit_compile=False, reduce_retracing=True)

    def train(self, codes: tf.Tensor, learning_rate: float, stop: bool = False) -> StepResult:
        """Update the model with this rank's part of a global batch.

        Parameters
        ----------
        codes
            Stored frames, shape (b, t, y, x); b may be 0.
        learning_rate
            Of this step.
        stop
            Whether this rank wants to stop after the step.
        """
        return self.update(self.compute(codes), learning_rate, stop)

    def compute(self, codes: tf.Tensor) -> list[tf.Tensor]:
        """Gradients, loss sum and valid pixels of this rank; the time is kept.

        The exchange is a graph of its own, so that what a rank computes can be told from what it
        waits for. Nothing is lost: a grouped all-reduce starts when all gradients are there.
        """
        started = time.perf_counter()
        pieces = min(self._pieces, codes.shape[0])
        sums: list[tf.Tensor] = self._compute(codes, pieces) if pieces else self._nothing()
        sums[-1].numpy()  # Waits for a GPU.
        self.compute_seconds = time.perf_counter() - started
        return sums

    def update(self, sums: list[tf.Tensor], learning_rate: float, stop: bool = False) -> StepResult:
        """Add up what `compute` gave on every rank, and update the model."""
        rate, wish = tf.constant(learning_rate, tf.float64), tf.constant(float(stop), tf.float32)
        return self._rest(sums, rate, wish)

    def evaluate(self, codes: tf.Tensor) -> tf.Tensor:
        """Loss sum and valid pixels of a batch on this rank, float64 of shape (2,)."""
        return self._sums(codes)

    def _forward(self, codes: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Loss sum and number of valid pixels, divided by the planned pixels."""
        batch = self._decode(codes)
        forecast = self._model([batch.inputs, batch.valid_inputs], training=training)
        target, weight = (tf.cast(part, forecast.dtype) for part in (batch.target, batch.weight))
        loss_sum = self._loss(forecast, target, weight)
        return loss_sum / self._pixels, tf.reduce_sum(weight) / self._pixels

    def _evaluate(self, codes: tf.Tensor) -> tf.Tensor:
        return self._pixels * tf.cast(tf.stack(self._forward(codes, False)), tf.float64)

    def _nothing(self) -> list[tf.Tensor]:
        # TensorFlow's convolutions fail on no sample at all.
        zero = tf.zeros((), self._model.output.dtype)
        variables = self._model.trainable_variables
        return [*(tf.zeros_like(variable.value) for variable in variables), zero, zero]

    def _exchange(
        self, sums: list[tf.Tensor], learning_rate: tf.Tensor, stop: tf.Tensor
    ) -> StepResult:
        *gradients, loss_sum, valid = sums
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(loss_sum) & tf.math.is_finite(norm)
        mine = tf.one_hot(self._communicator.rank, self._communicator.size, dtype=loss_sum.dtype)
        facts = tf.concat(
            [
                tf.stack([loss_sum, valid, tf.cast(stop, loss_sum.dtype)]),
                tf.where(finite, tf.zeros_like(mine), mine),
            ],
            0,
        )
        return self._update(*self._sum_over_ranks(gradients, facts), learning_rate)

    def _local_sums(self, codes: tf.Tensor, pieces: int) -> list[tf.Tensor]:
        """Gradient of the loss sum, the sum itself and the valid pixels of this rank."""
        variables = [variable.value for variable in self._model.trainable_variables]
        totals: list[tf.Tensor] = []
        count = tf.shape(codes)[0]
        for piece in range(pieces):
            first, last = count * piece // pieces, count * (piece + 1) // pieces
            # One piece after the other, or they would need the memory of all at once.
            with tf.control_dependencies(totals), tf.GradientTape() as tape:
                part = codes[first:last] if pieces > 1 else codes
                loss_sum, valid = self._forward(part, True)
            sums = [*tape.gradient(loss_sum, variables), loss_sum, valid]
            totals = [a + b for a, b in zip(totals, sums, strict=True)] if totals else sums
        return totals

    def _sum_over_ranks(
        self, gradients: list[tf.Tensor], facts: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        if not self._compress:
            *gradients, facts = self._communicator.sum_tensors([*gradients, facts])
            return gradients, facts
        # One collective takes one type, and counts would not survive float16.
        half = [tf.cast(gradient, tf.float16) for gradient in gradients]
        half = self._communicator.sum_tensors(half, name="compressed")
        (facts,) = self._communicator.sum_tensors([facts])
        return [tf.cast(h, g.dtype) for h, g in zip(half, gradients, strict=True)], facts

    def _update(
        self, gradients: list[tf.Tensor], facts: tf.Tensor, learning_rate: tf.Tensor
    ) -> StepResult:
        loss_sum, valid, stop = facts[0], facts[1], facts[2]
        not_finite = facts[3:]
        gradients = [tf.math.divide_no_nan(g, tf.cast(valid, g.dtype)) for g in gradients]
        norm = tf.linalg.global_norm(gradients)
        if self._clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm, norm)
        rate = self._optimiser.learning_rate
        rate.assign(tf.cast(learning_rate, rate.dtype))

        def apply() -> tf.Tensor:
            self._optimiser.apply(gradients, self._model.trainable_variables)
            return True

        tf.cond(tf.reduce_sum(not_finite) < 0.5, apply, lambda: False)
        loss = tf.math.divide_no_nan(loss_sum, valid)
        return StepResult(loss, valid * self._pixels, not_finite, stop > 0.5, norm)
