"""Plain Keras ``fit`` on many ranks, exact for uneven batches.

Horovod's own Keras layer cannot be used: under Keras 3 its optimiser averages nothing and says
nothing, and its callbacks fail. Here the sum over ranks is in ``train_step``, which Keras calls.

::

    import hvd_nowcast

    ranks = hvd_nowcast.connect()
    model = hvd_nowcast.DistributedModel(my_keras_model, ranks)
    model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    warm_up = hvd_nowcast.LearningRateWarmup(1e-3, 1e-3 * ranks.size, steps=500)
    model.fit(my_part_of_the_data, epochs=10, callbacks=[warm_up])

Started with ``mpirun -n 4 python my_script.py``; every rank gives ``fit`` its own data, in the same
number of batches. The batches may differ in size.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hvd_nowcast.parallel.communicator import Communicator


class DistributedModel(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A Keras model whose ``fit`` and ``evaluate`` add up over all ranks.

    The gradient is that of the mean loss over the samples of all ranks, and so are loss and metrics
    at the end of an epoch; the progress bar in between shows rank 0. Weights are made equal at the
    start of ``fit``.

    Parameters
    ----------
    model
        What is trained; it is not copied, so save this one.
    communicator
        From `hvd_nowcast.connect`.
    """

    def __init__(self, model: keras.Model, communicator: Communicator) -> None:
        super().__init__(name=f"distributed_{model.name}")
        self.model = model
        self.communicator = communicator
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the model."""
        return self.model(inputs, training=training)

    def compile(self, *arguments: Any, jit_compile: bool = False, **options: Any) -> None:
        """As in Keras; XLA stays off, because it cannot hold Horovod's operations."""
        super().compile(*arguments, jit_compile=jit_compile, **options)

    def fit(self, *arguments: Any, **options: Any) -> keras.callbacks.History:
        """As in Keras; only rank 0 shows its progress.

        Weights and optimiser start as those of rank 0.
        """
        self.optimizer.build(self.trainable_variables)
        self.communicator.broadcast_variables([*self.variables, *self.optimizer.variables])
        if self.communicator.rank != 0:
            options["verbose"] = 0
        return super().fit(*arguments, **options)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update with the samples of all ranks."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        variables = [variable.value for variable in self.trainable_variables]
        with tf.GradientTape() as tape:
            forecast = self(x, training=True)
            loss = self.compute_loss(x, y, forecast, sample_weight, training=True)
            # Keras gives the mean over this rank's samples; sums are what can be added.
            loss_sum = loss * tf.cast(_count(x), loss.dtype)
        gradients = tape.gradient(loss_sum, variables)
        count = tf.cast(_count(x), gradients[0].dtype)
        *gradients, samples = self.communicator.sum_tensors([*gradients, count], name="keras_fit")
        gradients = [gradient / samples for gradient in gradients]
        self.optimizer.apply(gradients, self.trainable_variables)
        return self._update_metrics(x, y, forecast, sample_weight, loss)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Metrics of this rank's samples; `get_metrics_result` adds up the ranks."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        forecast = self(x, training=False)
        loss = self.compute_loss(x, y, forecast, sample_weight, training=False)
        return self._update_metrics(x, y, forecast, sample_weight, loss)

    def get_metrics_result(self) -> dict[str, tf.Tensor]:
        """Metrics over the samples of all ranks; Keras asks for them at the end of an epoch."""
        if not tf.executing_eagerly():
            return super().get_metrics_result()
        # What Keras metrics keep are sums: totals, counts, confusion matrices.
        mine = [v.numpy().tolist() for metric in self.metrics for v in metric.variables]
        all_ranks = self.communicator.gather(mine)
        state = iter([np.sum(values, axis=0) for values in zip(*all_ranks, strict=True)])
        results: dict[str, tf.Tensor] = {}
        for metric in self.metrics:
            values = [tf.cast(next(state), variable.dtype) for variable in metric.variables]
            result = metric.stateless_result(values)
            results |= result if isinstance(result, dict) else {metric.name: result}
        return results

    def _update_metrics(
        self, x: Any, y: Any, forecast: Any, sample_weight: Any, loss: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=_count(x))
        results: dict[str, tf.Tensor] = self.compute_metrics(x, y, forecast, sample_weight)
        return results


class LearningRateWarmup(keras.callbacks.Callback):  # type: ignore[misc]
    """Raise the learning rate linearly during the first steps (Goyal et al. 2017).

    It follows the optimiser's own count of updates, so it goes on rightly after a restart.

    Parameters
    ----------
    start, peak
        Learning rate before the first step and from the last step of the warm-up on; the peak is
        usually ``start`` times the number of ranks.
    steps
        Length of the warm-up.
    """

    def __init__(self, start: float, peak: float, steps: int) -> None:
        super().__init__()
        self._start, self._peak, self._steps = start, peak, steps

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the rate of the next update."""
        step = int(self.model.optimizer.iterations)
        if step <= self._steps:
            done = step / self._steps if self._steps else 1.0
            self.model.optimizer.learning_rate = self._start + (self._peak - self._start) * done


def _count(x: Any) -> tf.Tensor:
    """Number of samples in a batch."""
    return tf.shape(tf.nest.flatten(x)[0])[0]
