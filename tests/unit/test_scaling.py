from __future__ import annotations

import numpy as np
import pytest

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.loader.scaling import (
    LinearScaling,
    LogRainScaling,
    fit_scaling,
    scaling_from_dict,
    scaling_to_dict,
)
from hvd_nowcast.shards.schema import Packing

PACKING = Packing(dtype="uint16", scale=0.12, offset=0.0, fill=65535)


@pytest.mark.parametrize("scaling", [LogRainScaling(2.3), LinearScaling(40.0)])
def test_inverse_undoes_forward_and_dry_is_zero(scaling: LogRainScaling | LinearScaling) -> None:
    values = np.array([0.0, 0.1, 1.0, 17.0, 200.0])
    assert scaling.forward(values)[0] == 0
    np.testing.assert_allclose(scaling.inverse(scaling.forward(values)), values, rtol=1e-12)
    assert scaling.inverse(np.array([-3.0]))[0] == 0


def test_fit_is_the_root_mean_square_of_wet_log_rain() -> None:
    generator = np.random.default_rng(0)
    codes = generator.integers(0, 100, (5, 8, 9)).astype(np.uint16)
    codes[0, 0, :3] = PACKING.fill
    rain = (codes[codes != PACKING.fill] * 0.12).astype(np.float32).astype(np.float64)
    expected = np.sqrt(np.mean(np.log1p(rain[rain >= 0.1] / 0.1) ** 2))
    scaling = fit_scaling("rain_rate", PACKING, 0.1, iter(codes))
    assert scaling.scale == pytest.approx(expected, rel=1e-12)


def test_fit_on_a_dry_archive_is_harmless() -> None:
    scaling = fit_scaling("rain_rate", PACKING, 0.1, [np.zeros((1, 4, 4), np.uint16)])
    assert scaling.scale == 1.0


def test_round_trip_and_unknown_kind() -> None:
    scaling = LogRainScaling(2.5, 0.2)
    assert scaling_from_dict(scaling_to_dict(scaling)) == scaling
    with pytest.raises(ConfigError, match="no known scaling"):
        scaling_from_dict({"kind": "magic", "scale": 1.0})
