"""Motion of rain whose motion is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hvd_nowcast.config import DataSection, ModelSection, NowcastConfig, config_from_dict
from hvd_nowcast.errors import ConfigError
from hvd_nowcast.loader import code_extrapolation
from hvd_nowcast.loader import motion as module
from hvd_nowcast.loader.code_extrapolation import CodeExtrapolation, move_codes
from hvd_nowcast.loader.motion import (
    MotionField,
    estimate_motion,
    extrapolate,
    find_source,
    grey_levels,
)
from hvd_nowcast.loader.scaling import LogRainScaling
from hvd_nowcast.models.nowcast import build_nowcast, smoothed
from hvd_nowcast.nowcast.predictor import Predictor
from hvd_nowcast.shards.schema import RAIN_PACKING

pytest.importorskip("cv2", reason="OpenCV is not installed: launch/setup.sh brings it")

SIDE, FRAMES_IN, LEADS = 96, 4, 3
# Pixels a frame, to the right and down.
SPEED = (2.0, -1.0)


def rain(time: int) -> NDArray[np.float32]:
    """Cells that all move alike."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    field = np.zeros((SIDE, SIDE))
    for number in range(12):
        row = 8 + 37 * number % 80 + SPEED[1] * (time - 3)
        column = 8 + 53 * number % 80 + SPEED[0] * (time - 3)
        field += (3 + number) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 30)
    return np.where(field < 0.1, 0.0, field).astype(np.float32)


@pytest.fixture(scope="module")
def frames() -> NDArray[np.float32]:
    return np.stack([rain(time) for time in range(FRAMES_IN + LEADS)])


def test_known_motion_is_found(frames: NDArray[np.float32]) -> None:
    motion = estimate_motion(grey_levels(frames[1:FRAMES_IN], 0.1)).on()
    assert motion.shape == (2, SIDE, SIDE)
    inside = motion[:, 20:-20, 20:-20]
    np.testing.assert_allclose(np.median(inside, (1, 2)), SPEED, atol=0.25)


def test_moved_frames_are_what_comes(frames: NDArray[np.float32]) -> None:
    motion = estimate_motion(grey_levels(frames[1:FRAMES_IN], 0.1)).on()
    moved = extrapolate(frames[FRAMES_IN - 1], motion, LEADS)
    for lead in range(LEADS):
        came = frames[FRAMES_IN + lead]
        still = np.abs(frames[FRAMES_IN - 1] - came)[20:-20, 20:-20].mean()
        assert np.abs(moved[lead] - came)[20:-20, 20:-20].mean() < 0.25 * still


def test_what_comes_from_outside_or_was_missing_is_unknown() -> None:
    frame = np.ones((40, 50), np.float32)
    frame[10, 20] = np.nan
    motion = np.zeros((2, 40, 50), np.float32)
    motion[0] = 3.0
    moved = extrapolate(frame, motion, 2)
    assert np.isnan(moved[0, :, :3]).all() and np.isnan(moved[1, :, :6]).all()
    assert np.isnan(moved[0, 10, 23]) and np.isnan(moved[1, 10, 26])
    assert np.isnan(moved[0]).sum() == 3 * 40 + 1


@pytest.mark.parametrize("top", [0, 200, 300])
def test_the_source_of_a_part_is_all_that_it_needs(top: int) -> None:
    generator = np.random.default_rng(top)
    frame = generator.uniform(0, 50, (400, 500)).astype(np.float32)
    part = slice(top, top + 100), slice(150, 250)
    motion = generator.uniform(-4, 9, (2, 100, 100)).astype(np.float32)
    near = find_source(frame.shape, motion, LEADS, part)
    assert frame[near].size < 100**2 + 4 * 4 * (9 + 4) * LEADS * 100
    away = np.full_like(frame, np.nan)
    away[near] = frame[near]
    moved = extrapolate(frame, motion, LEADS, part)
    np.testing.assert_array_equal(extrapolate(away, motion, LEADS, part), moved)
    assert np.isnan(moved).any() == (top != 200)


def test_a_complete_frame_ends_where_one_with_a_hole_does() -> None:
    generator = np.random.default_rng(0)
    frame = generator.uniform(0, 50, (60, 80)).astype(np.float32)
    motion = generator.uniform(-4, 4, (2, 60, 80)).astype(np.float32)
    motion[:, ::2] = np.round(motion[:, ::2])
    complete = np.isnan(extrapolate(frame, motion, LEADS))
    frame[30, 40] = np.nan
    holed = np.isnan(extrapolate(frame, motion, LEADS))
    rows, columns = np.mgrid[:60, :80]
    leads = np.arange(1, LEADS + 1)[:, None, None]
    far = np.hypot(columns - leads * motion[0] - 40, rows - leads * motion[1] - 30) > 2
    np.testing.assert_array_equal(holed[far], complete[far])
    assert 0.05 < complete.mean() < 0.3 and (holed & ~complete).any()


def test_motion_of_a_window_is_sought_once(
    frames: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = np.stack([RAIN_PACKING.encode(frame) for frame in frames])
    move = CodeExtrapolation(RAIN_PACKING, 0.1, FRAMES_IN, LEADS)
    first = move(codes, None, "a window")
    monkeypatch.setattr(code_extrapolation, "estimate_motion", None)
    np.testing.assert_array_equal(move(codes, None, "a window"), first)


@pytest.mark.parametrize("shape", [(96, 96), (8, 8), (1, 40)])
def test_no_rain_does_not_move(shape: tuple[int, int]) -> None:
    motion = estimate_motion(grey_levels(np.full((3, *shape), np.nan, np.float32), 0.1)).on()
    assert motion.shape == (2, *shape)
    assert not motion.any()


def test_a_crop_is_that_of_the_whole_frame(frames: NDArray[np.float32]) -> None:
    """Rain that comes into a crop from the rest of the frame is known."""
    codes = np.stack([RAIN_PACKING.encode(frame) for frame in frames])
    codes[:, :5] = RAIN_PACKING.fill
    move = CodeExtrapolation(RAIN_PACKING, 0.1, FRAMES_IN, LEADS)
    whole, part = move(codes), (slice(30, 62), slice(10, 42))
    assert whole.shape == (FRAMES_IN + 2 * LEADS, SIDE, SIDE)
    np.testing.assert_array_equal(move(codes, part), whole[:, part[0], part[1]])
    np.testing.assert_array_equal(whole[:FRAMES_IN], codes[:FRAMES_IN])
    np.testing.assert_array_equal(whole[-LEADS:], codes[-LEADS:])
    assert (whole[FRAMES_IN] == RAIN_PACKING.fill).any()


def test_a_part_is_moved_to_the_last_bit_as_the_whole_frame_is() -> None:
    generator = np.random.default_rng(0)
    cells = generator.normal(2, 1, (2, 30, 40)).astype(np.float32)
    field = MotionField(cells, (241, 323))
    motion, part = field.on(), (slice(77, 141), slice(150, 214))
    np.testing.assert_array_equal(field.on(part), motion[:, part[0], part[1]])
    frame = generator.uniform(0, 50, field.shape).astype(np.float32)
    moved = extrapolate(frame, motion, 24)
    np.testing.assert_array_equal(
        extrapolate(frame, field.on(part), 24, part), moved[:, part[0], part[1]]
    )


def test_motion_between_the_middles_of_cells_is_a_straight_line() -> None:
    """And beyond the outermost what it is there."""
    cells = np.array([[[0.0, 4.0]] * 2, [[2.0, 2.0], [10.0, 10.0]]], np.float32)
    motion = MotionField(cells, (8, 8)).on()
    along = [0, 0, 0.5, 1.5, 2.5, 3.5, 4, 4]
    np.testing.assert_array_equal(motion[0], np.tile(along, (8, 1)))
    np.testing.assert_array_equal(motion[1].T, np.tile(2 + 2 * np.array(along), (8, 1)))


@pytest.mark.parametrize("most", [300, 16383, 65535])
@pytest.mark.parametrize("part", [None, (slice(70, 110), slice(60, 130))])
@pytest.mark.parametrize("holes", [0, 6])
def test_codes_are_moved_as_values_are(
    most: int, part: tuple[slice, slice] | None, holes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last code, with half codes among the means, in several calls too."""
    generator = np.random.default_rng(most + holes)
    newest = generator.integers(0, most, (180, 200)).astype(np.uint16)
    for row, column in generator.integers(0, 160, (holes, 2)):
        newest[row : row + 20, column : column + 9] = RAIN_PACKING.fill
    shape = (40, 70) if part else newest.shape
    motion = generator.uniform(-3, 3, (2, *shape)).astype(np.float32)
    motion[:, ::2] = np.round(8 * motion[:, ::2]) / 8
    seen = np.where(newest == RAIN_PACKING.fill, np.nan, newest.astype(np.float32))
    moved = extrapolate(seen, motion, LEADS, part)
    expected = np.where(np.isnan(moved), RAIN_PACKING.fill, np.rint(np.nan_to_num(moved)))
    for pixels in (1, 2 * motion[0].size, 1 << 18):
        monkeypatch.setattr(module, "MOVED_PIXELS", pixels)
        found = np.empty(expected.shape, np.uint16)
        move_codes(newest, RAIN_PACKING.fill, motion, part, found)
        np.testing.assert_array_equal(found, expected)


def test_an_untrained_model_is_the_moved_frame_sharp_at_first_and_smooth_at_last(
    frames: NDArray[np.float32],
) -> None:
    config = NowcastConfig(
        DataSection(shards="none", frames_in=FRAMES_IN, frames_out=LEADS, crop=16),
        ModelSection(filters=(4,), centre=4, advection=True),
    )
    model = build_nowcast(config.model, FRAMES_IN, LEADS)
    scaling = LogRainScaling(2.0)
    predictor = Predictor(config, model, scaling, "rain_rate", 300, 1000.0, "0" * 64)
    forecast = predictor.forecast(frames[:FRAMES_IN])
    motion = estimate_motion(grey_levels(frames[1:FRAMES_IN], 0.1)).on()
    moved = extrapolate(frames[FRAMES_IN - 1], motion, LEADS)
    known = np.isfinite(moved)
    trust = 1 / (1 + np.exp(-2.0))
    moved_scaled = np.nan_to_num(scaling.forward(moved))
    last_scaled = np.repeat(scaling.forward(frames[FRAMES_IN - 1 : FRAMES_IN]), LEADS, 0)
    sharp = np.where(known, trust * moved_scaled + (1 - trust) * last_scaled, last_scaled)
    fields = (np.moveaxis(field, 0, -1)[None] for field in (last_scaled[:1], moved_scaled, known))
    smooth = np.moveaxis(np.asarray(smoothed(*(f.astype(np.float32) for f in fields)))[0], -1, 0)
    soft = 1 / (1 + np.exp(-np.linspace(-2, 2, LEADS)[:, None, None]))
    mean = (1 - soft) * sharp + soft * smooth
    np.testing.assert_allclose(forecast, scaling.inverse(mean), atol=2e-3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"model": {"advection": True, "residual": False}}, "needs model.residual"),
        ({"model": {"advection": True}, "data": {"frames_in": 1}}, "frames_in of 2 or more"),
    ],
)
def test_settings_that_make_no_sense(override: dict[str, dict[str, object]], message: str) -> None:
    data = {"shards": "none", **override.get("data", {})}
    with pytest.raises(ConfigError, match=message):
        config_from_dict({"data": data, "model": override["model"]}, "test")
