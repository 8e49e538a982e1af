from __future__ import annotations

import keras
import numpy as np
import pytest

from hvd_nowcast.config import ModelSection
from hvd_nowcast.models.nowcast import build_nowcast, size_multiple

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
