"""Frames on pixels of another size: nothing is made up and no rain is lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from hvd_nowcast.loader.resampling import resample, resampled_shape
from hvd_nowcast.nowcast.model import EnsembleModel
from hvd_nowcast.nowcast.spacing import AtSpacing, EnsembleAtSpacing, at_spacing
from tests.unit.test_forecast import Doubler


def test_fewer_pixels_are_means_of_what_is_known() -> None:
    frame = np.array([[[1, 3, 5, np.nan], [1, 3, np.nan, np.nan]]], np.float32)
    np.testing.assert_allclose(resample(frame, (1, 2)), [[[2.0, np.nan]]])
    frame[0, 1, 2] = 7.0
    np.testing.assert_allclose(resample(frame, (1, 2)), [[[2.0, 6.0]]])


def test_more_pixels_are_interpolated_and_missing_stays_missing() -> None:
    frame = np.array([[[0, 4, 4, np.nan]]], np.float32)
    found = resample(frame, (1, 8))[0, 0]
    np.testing.assert_allclose(found[:5], [0, 1, 3, 4, 4])
    assert np.isfinite(found[5]) and np.isnan(found[6:]).all()
    assert found[5] == 4.0  # Not less for the missing pixel beside it.


@pytest.mark.parametrize("shape", [(30, 50), (7, 11), (60, 100), (43, 71)])
def test_the_mean_rain_stays(shape: tuple[int, int]) -> None:
    ramp = np.add.outer(np.arange(30.0), np.arange(50.0)).astype(np.float32)[None]
    assert resample(ramp, shape).shape == (1, *shape)
    assert resample(ramp, shape).mean() == pytest.approx(ramp.mean(), rel=0.01)


def test_frames_that_fit_are_not_touched() -> None:
    frame = np.ones((2, 3, 4), np.float32)
    assert resample(frame, (3, 4)) is frame
    assert resampled_shape((48, 37), 2.0) == (96, 74)
    assert resampled_shape((1, 1), 0.1) == (1, 1)


def test_a_model_forecasts_on_the_grid_of_its_frames() -> None:
    model = Doubler()
    assert at_spacing(model, 1.05) is model
    fitted = at_spacing(model, 2.0)
    assert isinstance(fitted, AtSpacing) and fitted.grid_spacing == 2.0
    frames = np.full((3, 5, 7), 1.5, np.float32)
    np.testing.assert_allclose(fitted.forecast(frames), np.full((4, 5, 7), 3.0))
    assert model.seen.shape == (3, 10, 14)


def test_members_are_brought_back_too() -> None:
    class Drawer(Doubler):
        def members(self, frames: Any, numbers: Iterable[int]) -> Iterator[Any]:
            return (self.forecast(frames) * member for member in numbers)

    fitted = at_spacing(Drawer(), 2.0)
    assert isinstance(fitted, EnsembleModel) and isinstance(fitted, EnsembleAtSpacing)
    assert not isinstance(at_spacing(Doubler(), 2.0), EnsembleModel)
    drawn = list(fitted.members(np.full((3, 5, 7), 1.5, np.float32), range(3)))
    assert [member.shape for member in drawn] == [(4, 5, 7)] * 3
    assert [member.mean() for member in drawn] == pytest.approx([0.0, 3.0, 6.0])
