"""Codes decoded by arithmetic against tables of their values."""

from __future__ import annotations

import numpy as np
import pytest

from hvd_nowcast.loader.decoding import Decoder
from hvd_nowcast.loader.scaling import LinearScaling, LogRainScaling, Scaling
from hvd_nowcast.shards.schema import CODE_COUNTS, Packing

PACKINGS = (
    Packing("uint16", 0.01, 0.0, 65535),
    Packing("uint16", 0.12, 0.0, 0),
    Packing("uint8", 1.0, 0.0, 255),
    Packing("uint8", 0.5, -3.0, 100),
)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("scaling", [LogRainScaling(2.0), LinearScaling(40.0)])
def test_every_code_has_its_scaled_value(packing: Packing, scaling: Scaling) -> None:
    codes = np.arange(CODE_COUNTS[packing.dtype]).astype(packing.dtype)
    values = packing.table().astype(np.float64)
    intensity = np.array([1.0, 0.5], np.float32)
    scaled, known = Decoder(packing, scaling)(np.stack([codes, codes]), intensity)
    expected = [
        np.nan_to_num(scaling.forward(factor * np.maximum(values, 0))) for factor in (1, 0.5)
    ]
    np.testing.assert_allclose(scaled, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(known, np.stack([codes != packing.fill] * 2))
    # No rain is exactly 0.
    dry = ~(values > 0)
    assert not scaled.numpy()[:, dry].any()


def test_axes_are_exchanged() -> None:
    decode = Decoder(PACKINGS[0], LogRainScaling(2.0))
    codes = np.random.default_rng(0).integers(0, 65536, (2, 3, 4, 5)).astype(np.uint16)
    turned = decode(codes, np.ones(2, np.float32), (0, 2, 3, 1))
    for found, expected in zip(turned, decode(codes), strict=True):
        np.testing.assert_allclose(found, np.moveaxis(expected.numpy(), 1, -1), rtol=1e-6)
