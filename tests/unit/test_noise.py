"""Noise that members of an ensemble are made of, and the score that they are trained with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from hvd_nowcast.config import DataSection, LossSection, ModelSection, NowcastConfig
from hvd_nowcast.config.reading import config_from_dict
from hvd_nowcast.errors import ConfigError
from hvd_nowcast.loader.noise import LONGEST_WAVE, correlated_noise, noise_codes, noise_table
from hvd_nowcast.loader.scaling import LogRainScaling
from hvd_nowcast.models.nowcast import build_nowcast
from hvd_nowcast.nowcast import predictor as module
from hvd_nowcast.nowcast.predictor import EnsemblePredictor
from hvd_nowcast.training.loss import FAIRNESS, NowcastLoss

SCALING = LogRainScaling(2.0)


@pytest.mark.parametrize("shape", [(128, 128), (160, 96), (31, 47)])
def test_noise_is_standard_normal_in_frames_of_any_size(shape: tuple[int, int]) -> None:
    noise = correlated_noise(np.random.default_rng(0), 60, shape)
    assert noise.shape == (60, *shape)
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(1.0, abs=0.05)


def test_every_octave_has_the_same_variance() -> None:
    noise = correlated_noise(np.random.default_rng(0), 40, (256, 256))
    power = np.abs(np.fft.fft2(noise)) ** 2 / 256**4
    waves = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256))
    edges = [1 / LONGEST_WAVE, 2 / LONGEST_WAVE, 4 / LONGEST_WAVE, 8 / LONGEST_WAVE]
    octaves = [power[:, (waves >= low) & (waves < 2 * low)].sum(1).mean() for low in edges]
    np.testing.assert_allclose(octaves, octaves[0], rtol=0.15)


@pytest.mark.parametrize(("dtype", "error"), [("uint8", 0.01), ("uint16", 1e-4)])
def test_noise_travels_as_codes(dtype: str, error: float) -> None:
    noise = correlated_noise(np.random.default_rng(0), 4, (64, 64))
    back = noise_table(dtype)[noise_codes(noise, dtype)]
    inside = np.abs(noise) < 2
    assert np.abs(back - noise)[inside].max() < 6 * error
    assert np.isfinite(back).all()


@pytest.mark.parametrize(("members", "physical_weight"), [(2, 0.0), (5, 0.0), (2, 0.3)])
def test_loss_is_the_ranked_probability_score(members: int, physical_weight: float) -> None:
    probability = pytest.importorskip("scores.probability", reason="scores is not installed")
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    generator = np.random.default_rng(1)
    forecast = generator.random((members, 1, 4, 5, 2))
    target = generator.random((1, 4, 5, 2))
    weight = (generator.random((1, 4, 5, 2)) > 0.3).astype(float)
    names = ("b", "y", "x", "t")

    def expected(forecast: Any, target: Any) -> Any:
        fair, plain = (
            probability.crps_for_ensemble(
                xarray.DataArray(forecast, dims=("member", *names)),
                xarray.DataArray(target, dims=names),
                "member",
                method=method,
                preserve_dims="all",
            ).to_numpy()
            for method in ("fair", "ecdf")
        )
        return FAIRNESS * fair + (1 - FAIRNESS) * plain

    score = expected(forecast, target)
    score += physical_weight * expected(SCALING.inverse(forecast), SCALING.inverse(target))
    section = LossSection(error="crps", rain_weight=0.0, physical_weight=physical_weight)
    loss = NowcastLoss(section, SCALING)(*map(tf.constant, (forecast, target, weight)))
    assert float(loss) == pytest.approx((weight * score).sum(), rel=1e-9)


def make_predictor() -> EnsemblePredictor:
    config = NowcastConfig(
        DataSection(shards="none", frames_in=2, frames_out=3, crop=16),
        ModelSection(filters=(4,), centre=4, residual=False, noise=2),
        LossSection(error="crps", rain_weight=0.0),
    )
    model = build_nowcast(config.model, 2, 3)
    return EnsemblePredictor(config, model, SCALING, "rain_rate", 300, 1000.0, "0" * 64)


def test_members_differ_and_are_the_same_again() -> None:
    predictor = make_predictor()
    frames = np.random.default_rng(0).gamma(0.5, 4.0, (2, 20, 30)).astype(np.float32)
    members = np.stack(list(predictor.members(frames, range(4))))
    assert members.shape == (4, 3, 20, 30)
    assert all(np.abs(members[i] - members[j]).max() > 1e-3 for i in range(4) for j in range(i))
    np.testing.assert_array_equal(np.stack(list(predictor.members(frames, range(2)))), members[:2])


def test_one_forecast_of_an_ensemble_is_its_median(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMBERS", 5)
    predictor = make_predictor()
    frames = np.random.default_rng(0).gamma(0.5, 4.0, (2, 20, 30)).astype(np.float32)
    members = np.stack(list(predictor.members(frames, range(5))))
    np.testing.assert_array_equal(predictor.forecast(frames), np.median(members, 0))


def test_members_have_no_seam_between_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.random.default_rng(0).gamma(0.5, 4.0, (2, 100, 70)).astype(np.float32)
    predictor = make_predictor()
    (whole,) = predictor.members(frames, range(1))
    monkeypatch.setattr(module, "TILE", 48)
    monkeypatch.setattr(module, "OVERLAP", 16)
    (tiled,) = predictor.members(frames, range(1))
    # This network sees 10 pixels far: further from every tile's edge nothing may differ.
    np.testing.assert_allclose(tiled[:, :22, :22], whole[:, :22, :22], atol=1e-5)


@pytest.mark.parametrize(
    ("model", "loss", "message"),
    [
        ({"noise": -1}, {}, "must not be negative"),
        ({"noise": 2}, {}, "need each other"),
        ({}, {"error": "crps", "rain_weight": 0.0}, "need each other"),
        ({"noise": 2}, {"error": "crps"}, "not honest"),
    ],
)
def test_settings_that_make_no_sense(
    model: dict[str, object], loss: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_dict({"data": {"shards": "none"}, "model": model, "loss": loss}, "test")
