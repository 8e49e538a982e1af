from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvd_nowcast.config import DataSection, ModelSection, NowcastConfig
from hvd_nowcast.errors import ConfigError, RunFolderError
from hvd_nowcast.loader.scaling import LogRainScaling
from hvd_nowcast.models.nowcast import build_nowcast
from hvd_nowcast.nowcast import predictor as module
from hvd_nowcast.nowcast.predictor import Predictor, tile_slices
from hvd_nowcast.training.run_folder import RunFolder


def make_predictor(residual: bool = True, strong_rain: float | None = None) -> Predictor:
    moved = strong_rain is not None
    config = NowcastConfig(
        DataSection(shards="none", frames_in=2, frames_out=3, crop=16),
        ModelSection(
            filters=(4,),
            centre=4,
            residual=residual,
            advection=moved,
            strong_rain=strong_rain or 0.0,
        ),
    )
    model = build_nowcast(config.model, 2, 3)
    return Predictor(config, model, LogRainScaling(2.0), "rain_rate", 300, 1000.0, "0" * 64)


def frames(rows: int, columns: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(0).gamma(0.5, 4.0, (2, rows, columns)).astype(np.float32)


@pytest.mark.parametrize("shape", [(16, 16), (1, 1), (13, 37)])
def test_any_size_works_and_an_untrained_model_is_persistence(shape: tuple[int, int]) -> None:
    observed = frames(*shape)
    forecast = make_predictor().forecast(observed)
    assert forecast.shape == (3, *shape)
    assert forecast.dtype == np.float32
    np.testing.assert_allclose(forecast, np.repeat(observed[-1:], 3, 0), rtol=1e-4, atol=1e-5)


def test_missing_pixels_are_no_rain_to_the_model() -> None:
    observed = frames(8, 8)
    observed[:, 2:4] = np.nan
    forecast = make_predictor().forecast(observed)
    assert np.isfinite(forecast).all()
    np.testing.assert_allclose(forecast[:, 2:4], 0.0, atol=1e-6)


def test_forecasts_are_never_negative() -> None:
    assert (make_predictor(residual=False).forecast(frames(8, 8)) >= 0).all()


def test_strong_rain_is_brought_back() -> None:
    pytest.importorskip("cv2")
    plain, full = make_predictor(strong_rain=0), make_predictor(strong_rain=1)
    # A network that forecasts less than there is.
    for predictor in (plain, full):
        predictor._scaling = LogRainScaling(2.0, 1.0)
        predictor._model.get_layer("frames_out").bias.assign([-0.5, -0.5, -0.5])
        predictor._model.get_layer("softness").bias.assign([-50, -50, -50])
    observed = frames(48, 64)
    weak, strong = plain.forecast(observed), full.forecast(observed)
    assert (strong >= weak).all()
    assert (strong >= 5).mean() > 1.5 * (weak >= 5).mean() > 0
    blind = full.shown_less(2, motion=False)
    np.testing.assert_array_equal(
        blind.forecast(observed), plain.shown_less(2, motion=False).forecast(observed)
    )


def test_tiles_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    observed = frames(100, 70)
    predictor = make_predictor(residual=False)
    whole = predictor.forecast(observed)
    monkeypatch.setattr(module, "TILE", 48)
    monkeypatch.setattr(module, "OVERLAP", 16)
    difference = np.abs(predictor.forecast(observed) - whole)
    # This network sees 10 pixels far: further from every tile's edge nothing may differ.
    np.testing.assert_allclose(difference[:, :22, :22], 0.0, atol=1e-6)
    # A hard cut would be off by the whole difference at the edge; its weight there is 1 / 16.
    monkeypatch.setattr(
        module, "edge_weight", lambda part, size, overlap: np.ones(part.stop - part.start)
    )
    unweighted = np.abs(predictor.forecast(observed) - whole)
    assert 0 < difference.max() < 0.7 * unweighted.max()


@pytest.mark.parametrize("size", [1, 47, 48, 49, 79, 80, 81, 100, 1000])
def test_tiles_cover_everything_and_overlap(size: int) -> None:
    slices = list(tile_slices(size, 48, 16, 8))
    assert {pixel for part in slices for pixel in range(size)[part]} == set(range(size))
    assert all(part.start % 8 == 0 and part.stop - part.start <= 48 for part in slices)
    assert slices[-1].stop == size
    for left, right in zip(slices, slices[1:], strict=False):
        assert left.stop - right.start >= 16


def test_wrong_number_of_frames_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(2, y, x\)"):
        make_predictor().forecast(np.zeros((3, 8, 8), np.float32))


@pytest.mark.parametrize(
    ("data", "model"), [({"intensity": 2.0}, {}), ({}, {"advection": True, "strong_rain": 0.5})]
)
def test_settings_for_rain_are_refused_for_what_is_none(
    data: dict[str, float], model: dict[str, float]
) -> None:
    config = NowcastConfig(DataSection(shards="none", **data), ModelSection(**model))
    config.require_fits("rain_rate", "runs/rain")
    with pytest.raises(ConfigError, match="is for rain_rate, but runs/vil holds vil"):
        config.require_fits("vil", "runs/vil")


def test_a_run_whose_configuration_does_not_fit_makes_no_forecast(tmp_path: Path) -> None:
    data = DataSection(shards="none", frames_in=2, frames_out=3, crop=16)
    model = ModelSection(filters=(4,), centre=4, advection=True, strong_rain=0.5)
    run = RunFolder(tmp_path)
    run.start(NowcastConfig(data, model))
    run.best_weights.parent.mkdir(exist_ok=True)
    run.best_weights.touch()
    run.write_json("data.json", {"quantity": "vil"})
    with pytest.raises(ConfigError, match=r"model\.strong_rain is for rain_rate"):
        Predictor.load(tmp_path)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no config\.yaml"):
        Predictor.load(tmp_path)
