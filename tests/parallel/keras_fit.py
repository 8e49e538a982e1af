"""Plain Keras ``fit`` on some ranks: ``keras_fit.py ours|horovod OUT`` writes what each got."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import keras
import numpy as np

import hvd_nowcast
from hvd_nowcast.parallel.communicator import Communicator

STEPS, SAMPLES = 4, 8
# Uneven parts of each batch of eight.
SHARES = {1: [8], 2: [5, 3], 3: [4, 1, 3]}


def part_of_data(rank: int, ranks: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((STEPS, SAMPLES, 6))
    y = x[..., :2] ** 2 + generator.standard_normal((STEPS, SAMPLES, 2))
    start = sum(SHARES[ranks][:rank])
    part = slice(start, start + SHARES[ranks][rank])
    return x[:, part].reshape(-1, 6), y[:, part].reshape(-1, 2)


def build(rank: int) -> keras.Model:
    # Another seed on every rank: what makes them equal is the broadcast.
    keras.utils.set_random_seed(rank)
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(5, activation="tanh", dtype="float64")(inputs)
    return keras.Model(inputs, keras.layers.Dense(2, dtype="float64")(hidden))


def fit_ours(ranks: Communicator) -> tuple[keras.Model, dict[str, list[float]]]:
    inner = build(ranks.rank)
    model = hvd_nowcast.DistributedModel(inner, ranks)
    optimiser = keras.optimizers.SGD(0.1)
    model.compile(optimizer=optimiser, loss="mse", metrics=["mae"])
    x, y = part_of_data(ranks.rank, ranks.size)
    history = model.fit(
        x,
        y,
        batch_size=SHARES[ranks.size][ranks.rank],
        epochs=3,
        shuffle=False,
        verbose=0,
        validation_data=(x[::-1], y[::-1]),
        validation_batch_size=SHARES[ranks.size][ranks.rank],
        callbacks=[hvd_nowcast.LearningRateWarmup(0.01, 0.1, steps=6)],
    )
    return inner, history.history | {"rate": [float(optimiser.learning_rate)]}


def fit_with_horovod(ranks: Communicator) -> tuple[keras.Model, dict[str, list[float]]]:
    import horovod.tensorflow.keras as horovod_keras

    model = build(0)
    optimiser = horovod_keras.DistributedOptimizer(keras.optimizers.SGD(0.1))
    model.compile(optimizer=optimiser, loss="mse", jit_compile=False)
    x, y = part_of_data(ranks.rank, ranks.size)
    size = SHARES[ranks.size][ranks.rank]
    history = model.fit(x, y, batch_size=size, epochs=1, shuffle=False, verbose=0)
    return model, history.history


def main() -> None:
    kind, out = sys.argv[1:]
    ranks = hvd_nowcast.connect()
    model, history = (fit_ours if kind == "ours" else fit_with_horovod)(ranks)
    weights = [weight.tolist() for weight in model.get_weights()]
    Path(out, f"rank{ranks.rank}.json").write_text(json.dumps([weights, history]))
    ranks.close()


os.environ["KERAS_BACKEND"] = "tensorflow"
main()
