"""Ablation: what a model that is shown less sees, and that it is scored beside the whole one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hvd_nowcast.config import DataSection, ModelSection, NowcastConfig
from hvd_nowcast.loader.scaling import LogRainScaling
from hvd_nowcast.models.nowcast import build_nowcast
from hvd_nowcast.nowcast.ablation import ablations
from hvd_nowcast.nowcast.evaluate import score_windows
from hvd_nowcast.nowcast.predictor import Predictor, newest_frames
from hvd_nowcast.verification.evaluation import Evaluation, Setting


def make_predictor(frames_in: int, advection: bool) -> Predictor:
    config = NowcastConfig(
        DataSection(shards="none", frames_in=frames_in, frames_out=2, crop=32),
        ModelSection(filters=(4,), centre=4, advection=advection),
    )
    model = build_nowcast(config.model, frames_in, 2)
    return Predictor(config, model, LogRainScaling(2.0), "rain_rate", 300, 1000.0, "0" * 64)


def moving(count: int) -> NDArray[np.float32]:
    field = np.kron(np.random.default_rng(0).gamma(0.5, 4.0, (8, 8)), np.ones((8, 8)))
    return np.stack([np.roll(field, 3 * t, 1) for t in range(count)]).astype(np.float32)


@pytest.mark.parametrize(
    ("frames_in", "advection", "names"),
    [
        (6, True, ["without_motion", "newest_frame", "half_frames"]),
        (6, False, ["newest_frame", "half_frames"]),
        (2, False, ["newest_frame"]),
        (1, False, []),
    ],
)
def test_only_what_the_model_has_is_left_out(
    frames_in: int, advection: bool, names: list[str]
) -> None:
    if advection:
        pytest.importorskip("cv2")
    found = ablations(make_predictor(frames_in, advection))
    assert list(found) == [f"model_{name}" for name in names]


def test_older_frames_are_replaced() -> None:
    frames = np.arange(5, dtype=np.float32).reshape(5, 1, 1)
    assert newest_frames(frames, 3).ravel().tolist() == [2, 2, 2, 3, 4]
    assert newest_frames(frames, 1).ravel().tolist() == [4] * 5
    assert newest_frames(frames, 5).ravel().tolist() == [0, 1, 2, 3, 4]


def test_a_model_without_its_input_is_scored_beside_the_whole_one() -> None:
    pytest.importorskip("cv2")
    predictor = make_predictor(3, advection=True)
    predictor._model.get_layer("softness").bias.assign([-50, -50])
    frames = moving(5)
    variants = ablations(predictor)
    # Without smoothing an untrained network is mostly its moved frames: without the motion rain
    # stands still.
    still = np.repeat(frames[2:3], 2, 0)
    whole = predictor.forecast(frames[:3])
    for source in ("model_without_motion", "model_newest_frame"):
        np.testing.assert_allclose(variants[source].forecast(frames[:3]), still, atol=1e-3)
    assert np.abs(whole - still).mean() > 0.5
    np.testing.assert_array_equal(predictor.forecast(frames[:3]), whole)

    setting = Setting("rain_rate", "mm h-1", (0.1, 1.0), (5.0, 10.0), 1000.0, (64, 64), 0.1)
    empty = Evaluation.zero(setting, "test", ["model", *variants], spectra=False)
    result = score_windows(empty, [(np.datetime64("2020-06-01"), frames)], predictor, variants)
    error = {name: table["mae"]["all"][0] for name, table in result.to_json()["scores"].items()}
    assert error["model"] < 0.5 * error["model_without_motion"]
    assert result.example is not None
    assert list(result.example.forecasts) == ["model"]
