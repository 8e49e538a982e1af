"""Adam in one kernel: the steps of its formula."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvd_nowcast.config import OptimiserSection
from hvd_nowcast.training.optimiser import averaged_weights, build_optimiser

# The optimiser keeps its rate in float32.
RATES = np.array([0.1, 0.1, 0.05, 0.01], np.float32).astype(float)


# In float32, 1 - 0.999 has but four digits.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-4)])
def test_adam_takes_the_steps_of_its_formula(dtype: str, tolerance: float) -> None:
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, use_bias=False, dtype=dtype)]
    )
    (weight,) = (w.astype(np.float64) for w in model.get_weights())
    optimiser = build_optimiser(OptimiserSection(averaging=0.75), model)
    gradients = np.random.default_rng(0).normal(size=(len(RATES), 3, 4))
    first, second, mean = np.zeros_like(weight), np.zeros_like(weight), np.zeros_like(weight)

    @tf.function(jit_compile=False)
    def step(gradient: tf.Tensor) -> None:
        optimiser.apply([gradient], model.trainable_variables)

    for count, (rate, gradient) in enumerate(zip(RATES, gradients, strict=True), 1):
        optimiser.learning_rate = rate
        step(tf.constant(gradient, dtype))
        first += (1 - 0.9) * (gradient - first)
        second += (1 - 0.999) * (gradient**2 - second)
        unbiased = rate * np.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        weight = weight - unbiased * first / (np.sqrt(second) + optimiser.epsilon)
        mean = weight if count == 1 else 0.75 * mean + 0.25 * weight
    np.testing.assert_allclose(model.get_weights()[0], weight, rtol=tolerance)
    with averaged_weights(model, optimiser):
        np.testing.assert_allclose(model.get_weights()[0], mean, rtol=tolerance)
