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
import tensorflow as tf

from hvd_nowcast.parallel.communicator import Communicator


class DistributedModel(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A Keras model whose ``fit`` and ``evaluate`` add up over all ranks.

    The gradient is that of the mean loss over the samples of all ranks, and so are the logged loss
    and metrics, after every step: everything a step needs travels in one collective. Weights are
    made equal at the start of ``fit``.

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
        self._update_metrics(x, y, forecast, sample_weight, loss)
        mine = [tf.cast(_count(x), gradients[0].dtype), *self._metric_state(gradients[0].dtype)]
        summed = self.communicator.sum_tensors([*gradients, *mine], name="keras_train")
        gradients, (samples, *state) = summed[: len(variables)], summed[len(variables) :]
        gradients = [gradient / samples for gradient in gradients]
        self.optimizer.apply(gradients, self.trainable_variables)
        return self._metric_results(state)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Metrics over the samples of all ranks."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        forecast = self(x, training=False)
        loss = self.compute_loss(x, y, forecast, sample_weight, training=False)
        self._update_metrics(x, y, forecast, sample_weight, loss)
        state = self._metric_state(tf.float32)
        return self._metric_results(self.communicator.sum_tensors(state, name="keras_test"))

    def _update_metrics(
        self, x: Any, y: Any, forecast: Any, sample_weight: Any, loss: tf.Tensor
    ) -> None:
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=_count(x))
        self.compute_metrics(x, y, forecast, sample_weight)

    def _metric_state(self, dtype: tf.DType) -> list[tf.Tensor]:
        # What Keras metrics keep are sums: totals, counts, confusion matrices.
        return [tf.cast(v.value, dtype) for metric in self.metrics for v in metric.variables]

    def _metric_results(self, state: list[tf.Tensor]) -> dict[str, tf.Tensor]:
        results: dict[str, tf.Tensor] = {}
        rest = iter(state)
        for metric in self.metrics:
            values = [tf.cast(next(rest), variable.dtype) for variable in metric.variables]
            result = metric.stateless_result(values)
            results |= result if isinstance(result, dict) else {metric.name: result}
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
