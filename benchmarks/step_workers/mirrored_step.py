"""The same network under ``tf.distribute.MultiWorkerMirroredStrategy``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import tensorflow as tf
from common import LEARNING_RATE, pin, random_codes, serve, timed


def main() -> None:
    folder = Path(sys.argv[1])
    rank = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    pin(rank)
    # Before anything else of TensorFlow runs.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    import keras
    from ours import build, decoded

    with strategy.scope():
        model = build()
        optimiser = keras.optimizers.Adam(LEARNING_RATE)
        optimiser.build(model.trainable_variables)

    def replica_step(codes: tf.Tensor) -> tf.Tensor:
        batch = decoded(codes)
        with tf.GradientTape() as tape:
            forecast = model([batch.inputs, batch.valid_inputs], training=True)
            error = tf.reduce_sum(batch.weight * tf.square(forecast - batch.target))
            # Gradients of the two are added up.
            loss = error / tf.reduce_sum(batch.weight) / 2
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        optimiser.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    @tf.function(jit_compile=False)
    def step(codes: tf.Tensor) -> tf.Tensor:
        return strategy.run(replica_step, args=(codes,))

    codes = tf.constant(random_codes(rank))

    def run(_: str, count: int) -> list[float]:
        return timed(lambda: step(codes).numpy(), count)

    serve(folder, "mirrored", rank, run)
    # Its servers do not end by themselves.
    os._exit(0)


main()
