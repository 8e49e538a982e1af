"""The step against the same sums taken by hand, and against other divisions of the batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import keras
import numpy as np
import pytest
import tensorflow as tf

from hvd_nowcast.config import LossSection, ModelSection, OptimiserSection
from hvd_nowcast.loader.pipeline import Batch
from hvd_nowcast.loader.scaling import LogRainScaling
from hvd_nowcast.models.nowcast import build_nowcast
from hvd_nowcast.parallel.communicator import SingleProcess
from hvd_nowcast.training.loss import NowcastLoss
from hvd_nowcast.training.optimiser import averaged_weights, build_optimiser
from hvd_nowcast.training.step import StepResult, TrainingStep
from hvd_nowcast.training.task import Task

SCALING = LogRainScaling(2.5)
MODEL = ModelSection(filters=(4,), centre=4, residual=False)
PLAIN = LossSection(error="mse", rain_weight=0.0)


def make_batch(samples: int = 4, seed: int = 0, missing: float = 0.2) -> Batch:
    generator = np.random.default_rng(seed)
    frames = generator.random((samples, 8, 8, 5), np.float32)
    weight = (generator.random((samples, 8, 8, 3)) > missing).astype(np.float32)
    valid = np.ones((samples, 8, 8, 1), np.float32)
    return Batch(*map(tf.constant, (frames[..., :2], valid, frames[..., 2:], weight)))


def encode(batch: Batch) -> tf.Tensor:
    """These tests stack a batch's fields where the program has stored codes."""
    return tf.concat([batch.inputs, batch.valid_inputs, batch.target, batch.weight], -1)


def decode(codes: tf.Tensor) -> Batch:
    return Batch(*tf.split(codes, [2, 1, 3, 3], -1))


class Toy:
    """The nowcast's model and loss without its files."""

    planned_targets = 4.0 * 8 * 8 * 3
    branches = None

    def __init__(self, loss: LossSection = PLAIN, precision: str = "float32") -> None:
        keras.utils.set_random_seed(3)
        self.model = build_nowcast(replace(MODEL, precision=precision), 2, 3)
        self._loss = NowcastLoss(loss, SCALING)

    def forward(self, codes: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        batch = decode(codes)
        forecast = self.model([batch.inputs, batch.valid_inputs], training=training)
        target, weight = (tf.cast(part, forecast.dtype) for part in (batch.target, batch.weight))
        loss_sum = self._loss(forecast, target, weight)
        return loss_sum / self.planned_targets, tf.reduce_sum(weight) / self.planned_targets


class Recorder(SingleProcess):
    """Keeps what a rank would send, so that a test can add the parts itself."""

    def __init__(self) -> None:
        self.sent: list[np.ndarray[Any, Any]] = []

    def sum_tensors(self, tensors: Sequence[Any], name: str = "sums") -> list[Any]:
        self.sent = [np.asarray(tensor) for tensor in tensors]
        return list(tensors)


@pytest.fixture
def eager() -> Iterator[None]:
    """Run without graphs, which would show a test symbols instead of sums."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def make_step(
    communicator: SingleProcess,
    clip: float | None = None,
    loss: LossSection = PLAIN,
    precision: str = "float32",
    pieces: int = 1,
    compress: bool = False,
) -> tuple[keras.Model, TrainingStep]:
    task = Toy(loss, precision)
    optimiser = build_optimiser(OptimiserSection(name="sgd"), task.model)
    step = TrainingStep(cast(Task, task), optimiser, communicator, clip, pieces, compress)
    return task.model, step


def test_loss_is_the_mean_over_valid_pixels() -> None:
    model, step = make_step(SingleProcess())
    batch = make_batch()
    forecast = np.asarray(model([batch.inputs, batch.valid_inputs]))
    squared = (forecast - batch.target.numpy()) ** 2 * batch.weight.numpy()
    result = step.train(encode(batch), 0.1)
    assert float(result.loss) == pytest.approx(squared.sum() / batch.weight.numpy().sum(), 1e-5)
    assert float(result.valid) == pytest.approx(batch.weight.numpy().sum())


def test_missing_target_pixels_have_no_influence() -> None:
    batch = make_batch()
    hidden = batch.target + 1e3 * (1 - batch.weight)
    weights = []
    for target in (batch.target, hidden):
        model, step = make_step(SingleProcess())
        step.train(encode(batch._replace(target=target)), 0.1)
        weights.append([variable.numpy() for variable in model.variables])
    for plain, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(plain, other)


@pytest.mark.parametrize("cut", [0, 1, 3, 4])
def test_parts_of_a_batch_add_up_to_the_whole(cut: int, eager: None) -> None:
    batch, whole = make_batch(), Recorder()
    make_step(whole)[1].train(encode(batch), 0.0)
    sums: list[Any] = [0.0] * len(whole.sent)
    for part in (slice(0, cut), slice(cut, 4)):
        rank = Recorder()
        make_step(rank)[1].train(encode(batch)[part], 0.0)
        sums = [total + sent for total, sent in zip(sums, rank.sent, strict=True)]
    for expected, total in zip(whole.sent, sums, strict=True):
        np.testing.assert_allclose(total, expected, atol=1e-6)


def test_an_average_of_means_is_another_gradient(eager: None) -> None:
    batch, whole = make_batch(), Recorder()
    make_step(whole)[1].train(encode(batch), 0.0)
    means = []
    for part in (slice(0, 3), slice(3, 4)):
        rank = Recorder()
        make_step(rank)[1].train(encode(batch)[part], 0.0)
        means.append(rank.sent[0] / rank.sent[-1][1])
    exact = whole.sent[0] / whole.sent[-1][1]
    assert np.abs(np.mean(means, axis=0) - exact).max() > 1e-2 * np.abs(exact).max()


def test_an_all_missing_batch_changes_nothing() -> None:
    model, step = make_step(SingleProcess())
    before = [variable.numpy() for variable in model.variables]
    result = step.train(encode(make_batch(missing=2.0)), 0.1)
    assert (float(result.loss), float(result.valid)) == (0.0, 0.0)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_not_a_number_makes_no_update_and_is_reported() -> None:
    model, step = make_step(SingleProcess())
    before = [variable.numpy() for variable in model.variables]
    batch = make_batch()
    result: StepResult = step.train(encode(batch._replace(inputs=batch.inputs * np.nan)), 0.1)
    assert not result.finite
    assert step.is_finite(encode(make_batch()))
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_clipping_acts_on_the_mean_gradient() -> None:
    batch = make_batch()
    free_model, free = make_step(SingleProcess())
    start = [variable.numpy() for variable in free_model.variables]
    norm = float(free.train(encode(batch), 1.0).gradient_norm)
    clipped_model, clipped = make_step(SingleProcess(), clip=norm / 4)
    clipped.train(encode(batch), 1.0)
    for before, long, short in zip(
        start, free_model.variables, clipped_model.variables, strict=True
    ):
        np.testing.assert_allclose((long.numpy() - before) / 4, short.numpy() - before, atol=1e-6)


@pytest.mark.parametrize(
    "section",
    [
        LossSection(error="mae", rain_weight=0.5, rain_weight_limit=3.0),
        LossSection(error="mse", rain_weight=0.0, exceedance=0.3, thresholds=(1.0,)),
        LossSection(
            exceedance=0.3, thresholds=(1.0, 5.0), threshold_weights=(1, 3), miss_costs=(2, 7)
        ),
        LossSection(
            exceedance=0.3, thresholds=(1.0, 5.0), miss_costs=(2, 7), last_miss_costs=(4, 9)
        ),
    ],
)
def test_loss_formulas(section: LossSection) -> None:
    rain = np.array([[[[0.0, 2.0, 50.0]]]])
    target, forecast = SCALING.forward(rain), np.array([[[[0.1, 0.9, 1.0]]]])
    error = np.abs(forecast - target) if section.error == "mae" else (forecast - target) ** 2
    expected = error * (1 + section.rain_weight * np.minimum(rain, section.rain_weight_limit))
    if section.exceedance:
        weights = section.threshold_weights or (1,) * len(section.thresholds)
        costs = [[miss] * 3 for miss in section.miss_costs or (1,)]
        costs = [[2, 3, 4], [7, 8, 9]] if section.last_miss_costs else costs
        for limit, share, miss in zip(section.thresholds, weights, costs, strict=True):
            soft = 1 / (1 + np.exp(-15.0 * (forecast - SCALING.forward(np.array(limit)))))
            cost = np.where(rain >= limit, miss * (1 - soft), soft)
            expected = expected + section.exceedance * share / sum(weights) * cost
    arguments = [tf.constant(value, tf.float64) for value in (forecast, target)]
    weight = tf.constant([[[[1.0, 1.0, 0.0]]]], tf.float64)
    loss = NowcastLoss(section, SCALING)(*arguments, weight)
    assert float(loss) == pytest.approx(expected[..., :2].sum(), rel=1e-6)


def test_averaged_weights_are_the_running_mean_and_are_given_back() -> None:
    task = Toy()
    model = task.model
    optimiser = build_optimiser(OptimiserSection(name="sgd", averaging=0.75), model)
    step = TrainingStep(cast(Task, task), optimiser, SingleProcess())
    mean = None
    for seed in range(4):
        step.train(encode(make_batch(seed=seed)), 0.5)
        now = model.trainable_variables[0].numpy()
        mean = now if mean is None else 0.75 * mean + 0.25 * now
    with averaged_weights(model, optimiser):
        np.testing.assert_allclose(model.trainable_variables[0].numpy(), mean, rtol=1e-5)
    np.testing.assert_array_equal(model.trainable_variables[0].numpy(), now)


@pytest.mark.parametrize("pieces", [2, 3, 4])
def test_a_batch_in_pieces_gives_the_same_sums(pieces: int, eager: None) -> None:
    whole, parts = Recorder(), Recorder()
    make_step(whole)[1].train(encode(make_batch()), 0.0)
    make_step(parts, pieces=pieces)[1].train(encode(make_batch()), 0.0)
    for expected, found in zip(whole.sent, parts.sent, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_wish_to_stop_is_reported() -> None:
    _, step = make_step(SingleProcess())
    codes = encode(make_batch())
    assert [bool(step.train(codes, 0.1, stop).stop) for stop in (False, True)] == [False, True]


def test_compressed_gradients_are_nearly_the_same_and_facts_are_exact() -> None:
    codes = encode(make_batch())
    results, models = [], []
    for compress in (False, True):
        model, step = make_step(SingleProcess(), compress=compress)
        results.append(step.train(codes, 0.1))
        models.append(model)
    assert float(results[0].valid) == float(results[1].valid)
    assert float(results[0].loss) == float(results[1].loss)
    exact, rounded = ([v.numpy() for v in model.trainable_variables] for model in models)
    changed = [not np.array_equal(a, b) for a, b in zip(exact, rounded, strict=True)]
    assert any(changed)
    for a, b in zip(exact, rounded, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


@pytest.mark.parametrize(
    ("precision", "weights", "tolerance"),
    [("float64", "float64", 1e-5), ("mixed_bfloat16", "float32", 0.05)],
)
def test_precision_changes_the_arithmetic_and_not_the_answer(
    precision: str, weights: str, tolerance: float
) -> None:
    codes = encode(make_batch())
    plain_model, plain_step = make_step(SingleProcess())
    model, step = make_step(SingleProcess(), precision=precision)
    model.set_weights(plain_model.get_weights())
    plain, found = plain_step.train(codes, 0.1), step.train(codes, 0.1)
    assert {variable.dtype for variable in model.variables} == {weights}
    assert float(found.loss) == pytest.approx(float(plain.loss), rel=tolerance)
    assert float(found.loss) != float(plain.loss)
