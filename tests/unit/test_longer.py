"""Forecasts longer or shorter than the model makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.nowcast.longer import EnsembleToLeadTime, to_lead_time
from hvd_nowcast.nowcast.model import EnsembleModel, draw_members

Array = NDArray[np.float32]


class Counter:
    """Adds 1 a frame to the newest; missing pixels count as 100. Three frames of five minutes."""

    frames_in, frames_out, step_seconds = 2, 3, 300
    quantity, grid_spacing, fingerprint = "rain_rate", 1000.0, "0" * 64

    def forecast(self, frames: Array) -> Array:
        assert len(frames) == self.frames_in
        newest = np.nan_to_num(frames[-1], nan=100.0)
        steps = np.arange(1, self.frames_out + 1)[:, None, None]
        return (newest + steps * (newest - np.nan_to_num(frames[-2], nan=99.0))).astype(np.float32)


class Drawer(Counter):
    """Members that add their number more each frame."""

    def members(self, frames: Array, numbers: Iterable[int]) -> Iterator[Array]:
        steps = np.arange(1, self.frames_out + 1)[:, None, None]
        return ((self.forecast(frames) + number * steps).astype(np.float32) for number in numbers)


FRAMES = np.stack([np.full((2, 2), 3.0), np.full((2, 2), 4.0)]).astype(np.float32)


@pytest.mark.parametrize("minutes", [5, 10, 15, 20, 30, 40])
def test_a_forecast_is_as_long_as_wanted(minutes: int) -> None:
    model = to_lead_time(Counter(), minutes)
    assert model.frames_out == minutes // 5
    assert not isinstance(model, EnsembleModel)
    found = model.forecast(FRAMES)
    assert found.shape == (minutes // 5, 2, 2)
    np.testing.assert_array_equal(found[:, 0, 1], 4 + np.arange(1, minutes // 5 + 1))


def test_a_model_that_fits_stays_itself() -> None:
    model = Counter()
    assert to_lead_time(model, None) is model
    assert to_lead_time(model, 15) is model


def test_what_radar_does_not_see_stays_missing_in_what_goes_on() -> None:
    frames = FRAMES.copy()
    frames[:, 0, 0] = np.nan
    found = to_lead_time(Counter(), 30).forecast(frames)
    # As from the start: not from 101, 102 and 103, which were forecast there.
    assert found[3, 0, 0] == found[0, 0, 0] == 101.0
    assert found[3, 1, 1] == 8.0


def test_each_member_goes_on_from_itself() -> None:
    model = to_lead_time(Drawer(), 30)
    assert isinstance(model, EnsembleToLeadTime) and isinstance(model, EnsembleModel)
    members = draw_members(model, FRAMES, 3)
    assert members.shape == (3, 6, 2, 2)
    # 5, 6, 7; then a step of 1, and twice of the member's number more.
    assert members[0, :, 0, 0].tolist() == [5, 6, 7, 8, 9, 10]
    assert members[2, :3, 0, 0].tolist() == [7, 10, 13]
    assert members[2, 3:, 0, 0].tolist() == [13 + 3 + 2, 13 + 6 + 4, 13 + 9 + 6]
    (alone,) = model.members(FRAMES, [2])
    np.testing.assert_array_equal(alone, members[2])
    np.testing.assert_array_equal(model.forecast(FRAMES)[:, 0, 0], members[0, :, 0, 0])


@pytest.mark.parametrize("minutes", [1, 7, 61])
def test_minutes_between_frames_are_refused(minutes: int) -> None:
    with pytest.raises(ConfigError, match=rf"--minutes {minutes}: give a multiple of 5"):
        to_lead_time(Counter(), minutes)
