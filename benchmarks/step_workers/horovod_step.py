"""Our step, a loop written by hand, and computation without any exchange, on Horovod's ranks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import keras
import tensorflow as tf
from common import (
    BATCH,
    CENTRE,
    FILTERS,
    FRAMES_IN,
    FRAMES_OUT,
    LEARNING_RATE,
    SIDE,
    pin,
    random_codes,
    serve,
    timed,
)

from hvd_nowcast.config import LossSection, ModelSection, OptimiserSection
from hvd_nowcast.loader.pipeline import BatchDecoder
from hvd_nowcast.loader.scaling import LogRainScaling
from hvd_nowcast.models.nowcast import build_nowcast
from hvd_nowcast.parallel.communicator import Communicator, SingleProcess
from hvd_nowcast.parallel.startup import connect
from hvd_nowcast.shards.schema import RAIN_PACKING
from hvd_nowcast.training.loss import NowcastLoss
from hvd_nowcast.training.step import TrainingStep, build_optimiser

SCALING = LogRainScaling(2.5)
DECODER = BatchDecoder(RAIN_PACKING, SCALING, FRAMES_IN, FRAMES_OUT)


def build() -> keras.Model:
    keras.utils.set_random_seed(0)
    section = ModelSection(filters=FILTERS, centre=CENTRE, residual=False, mask_channel=False)
    return build_nowcast(section, FRAMES_IN, FRAMES_OUT)


def our_step(communicator: Communicator, codes: tf.Tensor):  # noqa: ANN201 - a closure
    model = build()
    optimiser = build_optimiser(OptimiserSection(learning_rate=LEARNING_RATE), model)
    loss = NowcastLoss(LossSection(error="mse", rain_weight=0.0), SCALING)
    pixels = BATCH * communicator.size * SIDE * SIDE * FRAMES_OUT
    step = TrainingStep(model, optimiser, DECODER, loss, communicator, None, pixels)

    def take() -> None:
        result = step.train(codes, LEARNING_RATE)
        # The loop looks at these after every step.
        result.not_finite.numpy(), result.stop.numpy()

    return take


def hand_written_step(communicator: Communicator, codes: tf.Tensor):  # noqa: ANN201 - a closure
    import horovod.tensorflow as hvd

    model = build()
    optimiser = keras.optimizers.Adam(LEARNING_RATE)
    optimiser.build(model.trainable_variables)

    @tf.function(jit_compile=False)
    def step(codes: tf.Tensor) -> tf.Tensor:
        batch = DECODER(codes)
        with tf.GradientTape() as tape:
            forecast = model([batch.inputs, batch.valid_inputs], training=True)
            loss = tf.reduce_mean(tf.square(forecast - batch.target))
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
        "ours": our_step(communicator, codes),
        "hand": hand_written_step(communicator, codes),
        "apart": our_step(SingleProcess(), codes),
    }

    def run(variant: str, count: int) -> list[float] | None:
        if variant == "alone":
            return timed(steps["apart"], count) if communicator.rank == 0 else None
        return timed(steps[variant], count)

    serve(folder, "horovod", communicator.rank, run)
    communicator.close()


main()
