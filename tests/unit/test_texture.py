"""A smooth forecast takes the texture of the moved frame and stays what it says of events."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hvd_nowcast.config import ModelSection
from hvd_nowcast.errors import ConfigError
from hvd_nowcast.nowcast.texture import CLASSES, give_texture

SHAPE = (2, 60, 70)


def rain(seed: int, spread: float) -> NDArray[np.float32]:
    """Rates around 1 mm/h, dry here and there."""
    generator = np.random.default_rng(seed)
    rates = np.exp(generator.normal(0, spread, SHAPE)) * (generator.random(SHAPE) < 0.8)
    return rates.astype(np.float32)


def classes(rates: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.digitize(rates, np.float32(CLASSES))


@pytest.mark.parametrize("strength", [0.5, 2.5, 40.0])
def test_no_pixel_leaves_its_class(strength: float) -> None:
    forecast = rain(0, 2)
    forecast[0, 0, :3] = CLASSES
    forecast[0, 1, :3] = np.nextafter(np.float32(CLASSES), np.float32(0))
    found = give_texture(forecast, rain(1, 3), strength)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(classes(found), classes(forecast))
    assert set(np.unique(classes(forecast))) == {0, 1, 2, 3}


def test_rain_comes_nearer_to_that_of_the_moved_frame() -> None:
    forecast, moved = rain(0, 1), rain(1, 2)
    found = give_texture(forecast, moved, 2.5)
    room = (forecast > 0.12) & (forecast < 4.9) & (np.abs(forecast - 1) > 0.05)
    more, less = room & (moved > 1.05 * forecast), room & (moved < forecast / 1.05)
    assert (found[more] > forecast[more]).all() and (found[less] < forecast[less]).all()
    assert more.sum() > 1000 and less.sum() > 1000
    np.testing.assert_allclose(give_texture(forecast, forecast, 2.5)[room], forecast[room], 1e-5)


def test_a_smooth_forecast_gets_variance() -> None:
    forecast, moved = np.full(SHAPE, 2, np.float32), rain(1, 1)
    weak, strong = (np.log(give_texture(forecast, moved, s)).std() for s in (1, 2.5))
    assert 0.2 < weak < strong < np.log(moved[moved > 0]).std()


def test_dry_heavy_and_unknown_places_stay() -> None:
    forecast, moved = rain(0, 2), rain(1, 2)
    moved[:, :, :20] = np.nan
    found = give_texture(forecast, moved, 2.5)
    stays = (forecast < CLASSES[0]) | (forecast >= CLASSES[-1]) | np.isnan(moved)
    np.testing.assert_array_equal(found[stays], forecast[stays])
    assert (found != forecast)[~stays].mean() > 0.95
    np.testing.assert_array_equal(give_texture(forecast, moved[:0], 0), forecast)


@pytest.mark.parametrize("wrong", [{"advection": False}, {"noise": 2}, {"texture": -1}])
def test_what_it_needs_is_told(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="texture"):
        ModelSection(**{"advection": True, "texture": 2.0, **wrong})
