"""What turns a gradient into new weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from hvd_nowcast.config import OptimiserSection


class OneKernelAdam(keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015, doi:10.48550/arXiv.1412.6980), each variable in one pass.

    Keras' own makes a pass through memory for each operation of the formula, a dozen in all, which
    a rank of one thread waits for. State and formula are the same; without AMSGrad.
    """

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Change one variable and its two moments in place."""
        place, dtype = self._get_variable_index(variable), gradient.dtype
        step = tf.cast(self.iterations + 1, dtype)
        first, second = (tf.constant(beta, dtype) for beta in (self.beta_1, self.beta_2))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=tf.pow(first, step),
            beta2_power=tf.pow(second, step),
            lr=tf.cast(learning_rate, dtype),
            beta1=first,
            beta2=second,
            epsilon=tf.constant(self.epsilon, dtype),
            grad=gradient,
        )


_KINDS: dict[str, Any] = {"adam": OneKernelAdam, "sgd": keras.optimizers.SGD}


def build_optimiser(section: OptimiserSection, model: keras.Model) -> keras.Optimizer:
    """Make the optimiser with its slots, so that a checkpoint can fill them before step 0."""
    # A fixed name: Keras numbers its own by what this process built before.
    optimiser = _KINDS[section.name](
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
