"""Our step, a loop written by hand, and computation without any exchange, on Horovod's ranks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf
from common import BATCH, LEARNING_RATE, pin, random_codes, serve, timed
from ours import build, decoded, our_step

from hvd_nowcast.parallel.communicator import Communicator, SingleProcess
from hvd_nowcast.parallel.startup import connect


def our_way(communicator: Communicator, codes: tf.Tensor) -> Callable[[], object]:
    step = our_step(communicator, BATCH * communicator.size)

    def take() -> None:
        result = step.train(codes, LEARNING_RATE)
        # The loop looks at these after every step.
        bool(result.finite), bool(result.stop)

    return take


def hand_written(codes: tf.Tensor) -> Callable[[], object]:
    import horovod.tensorflow as hvd

    model = build()
    optimiser = keras.optimizers.Adam(LEARNING_RATE)
    optimiser.build(model.trainable_variables)

    @tf.function(jit_compile=False)
    def step(codes: tf.Tensor) -> tf.Tensor:
        batch = decoded(codes)
        with tf.GradientTape() as tape:
            forecast = model([batch.inputs, batch.valid_inputs], training=True)
            error = tf.reduce_sum(batch.weight * tf.square(forecast - batch.target))
            loss = error / tf.reduce_sum(batch.weight)
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        gradients = hvd.grouped_allreduce(gradients, op=hvd.Average, name="hand")
        optimiser.apply(gradients, model.trainable_variables)
        return loss

    return lambda: step(codes).numpy()


def main() -> None:
    folder = Path(sys.argv[1])
    pin(int(os.environ["OMPI_COMM_WORLD_LOCAL_RANK"]))
    communicator = connect(os.environ)
    codes = tf.constant(random_codes(communicator.rank))
    steps = {
        "ours": our_way(communicator, codes),
        "hand": hand_written(codes),
        "apart": our_way(SingleProcess(), codes),
    }

    def run(variant: str, count: int) -> list[float] | None:
        if variant == "alone":
            return timed(steps["apart"], count) if communicator.rank == 0 else None
        return timed(steps[variant], count)

    serve(folder, "horovod", communicator.rank, run)
    communicator.close()


main()
