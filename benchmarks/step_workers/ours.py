"""Our step on the network of the benchmarks."""

from __future__ import annotations

import keras
import tensorflow as tf
from common import CENTRE, FILTERS, FRAMES_IN, FRAMES_OUT, LEARNING_RATE, SIDE

from hvd_nowcast.config import LossSection, ModelSection, OptimiserSection
from hvd_nowcast.loader.pipeline import Batch, BatchDecoder, StoredBatch
from hvd_nowcast.loader.scaling import LogRainScaling
from hvd_nowcast.models.nowcast import build_nowcast
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.shards.schema import RAIN_PACKING
from hvd_nowcast.training.loss import NowcastLoss
from hvd_nowcast.training.optimiser import build_optimiser
from hvd_nowcast.training.step import TrainingStep

SCALING = LogRainScaling(2.5)
_DECODER = BatchDecoder(RAIN_PACKING, SCALING, FRAMES_IN, FRAMES_OUT)


def decoded(codes: tf.Tensor) -> Batch:
    """Scaled frames of stored codes (b, t, y, x)."""
    return _DECODER(StoredBatch(codes, tf.ones(tf.shape(codes)[:1])))


def build() -> keras.Model:
    """The network, with the same weights in every process."""
    keras.utils.set_random_seed(0)
    section = ModelSection(filters=FILTERS, centre=CENTRE, residual=False, mask_channel=False)
    return build_nowcast(section, FRAMES_IN, FRAMES_OUT)


class Nowcast:
    """Mean square error over pixels that are not missing, as every contender has it."""

    branches = None

    def __init__(self, global_batch: int) -> None:
        self.model = build()
        self.planned_targets = float(global_batch * SIDE * SIDE * FRAMES_OUT)
        self._loss = NowcastLoss(LossSection(error="mse", rain_weight=0.0), SCALING)

    def forward(self, codes: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        batch = decoded(codes)
        forecast = self.model([batch.inputs, batch.valid_inputs], training=training)
        loss_sum = self._loss(forecast, batch.target, batch.weight)
        return loss_sum / self.planned_targets, tf.reduce_sum(batch.weight) / self.planned_targets


def our_step(communicator: Communicator, global_batch: int) -> TrainingStep:
    """A step with Adam, as every contender has."""
    task = Nowcast(global_batch)
    optimiser = build_optimiser(OptimiserSection(learning_rate=LEARNING_RATE), task.model)
    return TrainingStep(task, optimiser, communicator)
