"""Our step on the network of the benchmarks."""

from __future__ import annotations

import keras
from common import CENTRE, FILTERS, FRAMES_IN, FRAMES_OUT, LEARNING_RATE, SIDE

from hvd_nowcast.config import LossSection, ModelSection, OptimiserSection
from hvd_nowcast.loader.pipeline import BatchDecoder
from hvd_nowcast.loader.scaling import LogRainScaling
from hvd_nowcast.models.nowcast import build_nowcast
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.shards.schema import RAIN_PACKING
from hvd_nowcast.training.loss import NowcastLoss
from hvd_nowcast.training.step import TrainingStep, build_optimiser

SCALING = LogRainScaling(2.5)
DECODER = BatchDecoder(RAIN_PACKING, SCALING, FRAMES_IN, FRAMES_OUT)


def build() -> keras.Model:
    """The network, with the same weights in every process."""
    keras.utils.set_random_seed(0)
    section = ModelSection(filters=FILTERS, centre=CENTRE, residual=False, mask_channel=False)
    return build_nowcast(section, FRAMES_IN, FRAMES_OUT)


def our_step(communicator: Communicator, global_batch: int) -> TrainingStep:
    """A step with mean square error and Adam, as every contender has."""
    model = build()
    optimiser = build_optimiser(OptimiserSection(learning_rate=LEARNING_RATE), model)
    loss = NowcastLoss(LossSection(error="mse", rain_weight=0.0), SCALING)
    pixels = global_batch * SIDE * SIDE * FRAMES_OUT
    return TrainingStep(model, optimiser, DECODER, loss, communicator, None, pixels)
