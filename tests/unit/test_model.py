from __future__ import annotations

import keras
import numpy as np
import pytest

from hvd_nowcast.config import ModelSection
from hvd_nowcast.errors import ConfigError
from hvd_nowcast.models.nowcast import EXPONENT, SMOOTHING, build_nowcast, size_multiple, smoothed

PUBLISHED = ModelSection(
    filters=(32, 64, 128, 256), centre=1024, residual=False, mask_channel=False
)


def test_published_form_has_the_published_size() -> None:
    # Batch normalisation has 4 numbers per channel, two of them trained. The published network
    # normalises after each 3 x 3 convolution and each joined skip connection.
    model = build_nowcast(PUBLISHED, 13, 12)
    convolutions = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
        and layer.kernel_size == (3, 3)
        and not isinstance(layer, keras.layers.Conv2DTranspose)
    ]
    joined = 2 * sum(PUBLISHED.filters)
    batch_normalisation = 4 * (sum(layer.filters for layer in convolutions) + joined)
    assert model.count_params() + batch_normalisation == 16_565_900


@pytest.mark.parametrize("normalisation", ["none", "group", "layer"])
@pytest.mark.parametrize("stem", [1, 2])
def test_any_frame_size_keeps_its_size(normalisation: str, stem: int) -> None:
    section = ModelSection(filters=(8, 16), centre=16, stem=stem, normalisation=normalisation)
    model = build_nowcast(section, 4, 3)
    side = size_multiple(section)
    frames = np.random.default_rng(0).random((2, 3 * side, 5 * side, 4), np.float32)
    forecast = model([frames, np.ones_like(frames[..., :1])])
    assert forecast.shape == (2, 3 * side, 5 * side, 3)


def test_a_new_residual_model_is_persistence() -> None:
    model = build_nowcast(ModelSection(filters=(8,), centre=8), 2, 3)
    frames = np.random.default_rng(0).random((1, 4, 4, 2), np.float32)
    forecast = np.asarray(model([frames, np.ones_like(frames[..., :1])]))
    np.testing.assert_allclose(forecast, np.repeat(frames[..., -1:], 3, -1))


def test_no_layer_depends_on_the_local_batch() -> None:
    section = ModelSection(filters=(8, 16), centre=16, normalisation="group", residual=False)
    model = build_nowcast(section, 4, 3)
    frames = np.random.default_rng(1).random((3, 8, 8, 4), np.float32)
    valid = np.ones_like(frames[..., :1])
    together = np.asarray(model([frames, valid], training=True))
    alone = np.concatenate(
        [np.asarray(model([frames[i : i + 1], valid[i : i + 1]], training=True)) for i in range(3)]
    )
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_smooth_frame_holds_the_mean_rain_of_its_surroundings() -> None:
    scale = EXPONENT
    rain = np.zeros((1, 61, 71, 2), np.float32)
    rain[0, 30, 40] = 500, 50
    scaled = np.log1p(rain) / scale
    smooth = np.asarray(smoothed(np.zeros_like(scaled[..., :1]), scaled, np.ones_like(scaled)))
    found = np.expm1(smooth * scale)
    # 0.2 % of the weight is that of the newest frame, which is dry.
    np.testing.assert_allclose(found.sum((0, 1, 2)), [500 / 1.002, 50 / 1.002], rtol=1e-4)
    rows, columns = np.nonzero(found[0, ..., 0] > 1e-4)
    assert np.abs(rows - 30).max() == np.abs(columns - 40).max() == SMOOTHING - 1
    deviation = np.sqrt((found[0, ..., 0] * (np.arange(61)[:, None] - 30) ** 2).sum() / 500)
    assert deviation == pytest.approx(np.sqrt(2 * (SMOOTHING**2 - 1) / 12), rel=0.01)


def test_beyond_its_edge_a_smooth_frame_goes_on() -> None:
    known = np.ones((1, 50, 60, 1), np.float32)
    known[:, :, :30] = 0
    moved, last = known * 0.8, np.full((1, 50, 60, 1), 0.2, np.float32)
    smooth = np.asarray(smoothed(last, moved, known))[0, ..., 0]
    np.testing.assert_allclose(smooth[:, 30:], 0.8, atol=0.02)
    np.testing.assert_allclose(smooth[:, 24:30], 0.8, atol=0.05)
    # Far from what is known it is the newest frame.
    np.testing.assert_allclose(smooth[:, : 30 - 2 * SMOOTHING + 2], 0.2, atol=1e-5)


def test_members_of_an_ensemble_have_no_smooth_part() -> None:
    names = {
        noise: {
            layer.name
            for layer in build_nowcast(
                ModelSection(filters=(4,), centre=4, advection=True, noise=noise), 2, 3
            ).layers
        }
        for noise in (0, 2)
    }
    assert "softness" in names[0] and "trust" in names[0]
    assert "softness" not in names[2] and "trust" in names[2]


def test_a_forecast_takes_a_share_of_the_change() -> None:
    generator = np.random.default_rng(0)
    frames = generator.random((1, 8, 8, 2), np.float32)
    seen = [frames, np.ones_like(frames[..., :1]), frames, np.ones_like(frames)]
    found = {}
    for share in (0.0, 0.5, 1.0):
        section = ModelSection(filters=(4,), centre=4, advection=True, change_share=share)
        model = build_nowcast(section, 2, 2)
        model.get_layer("frames_out").bias.assign([0.2, -0.4])
        found[share] = [np.asarray(model(seen, training=training)) for training in (False, True)]
    changes = np.broadcast_to(np.float32([0.2, -0.4]), frames.shape)
    for share, (forecast, trained) in found.items():
        np.testing.assert_allclose(forecast - found[0.0][0], share * changes, atol=1e-6)
        np.testing.assert_allclose(trained - found[0.0][0], changes, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"advection": False}, {"change_share": 1.5}])
def test_what_a_share_of_the_change_needs_is_told(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="change_share"):
        ModelSection(**{"advection": True, "change_share": 0.5, **wrong})
