"""Scores of ensembles: against other code, against ensembles of known worth, and in a file."""

import json
from dataclasses import dataclass

import netCDF4
import numpy as np
import pytest

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.nowcast.evaluate import score_windows
from hvd_nowcast.nowcast.forecast import make_forecast
from hvd_nowcast.plots import plot_forecast_file, save_evaluation_figures
from hvd_nowcast.verification.baselines import steps_ensemble
from hvd_nowcast.verification.ensemble import (
    EnsembleSums,
    ScoredMembers,
    continuous_ranked_probability,
    ensemble_scores,
    rank_counts,
)
from hvd_nowcast.verification.evaluation import Evaluation, Setting
from hvd_nowcast.verification.screen import screen_tables
from tests.unit.test_bad_input import write_radar
from tests.unit.test_verification_evaluate import FakePredictor

THRESHOLDS = (0.1, 1.0)


@dataclass
class FakeEnsemble(FakePredictor):
    """Members that are the newest frame times a number."""

    def members(self, frames, numbers):
        newest = np.nan_to_num(frames[-1:])
        for member in numbers:
            yield np.repeat(newest * (0.5 + member / 5), self.frames_out, 0)

    def forecast(self, frames):
        return np.median(list(self.members(frames, range(5))), 0)


def nothing(members=5, leads=2, spacing=1000.0):
    return EnsembleSums.zero(members, leads, THRESHOLDS, spacing)


def drawn(members, shape, seed=0):
    """Members and an observation of one distribution, so that the ensemble is perfect."""
    generator = np.random.default_rng(seed)
    fields = generator.gamma(0.5, 2.0, (members + 1, *shape)).astype(np.float32)
    return fields[1:], fields[0]


@pytest.mark.parametrize("members", [2, 7])
def test_crps_is_that_of_the_package_scores(members):
    probability = pytest.importorskip("scores.probability")
    xarray = pytest.importorskip("xarray")
    forecast, observed = drawn(members, (200,))
    ours = continuous_ranked_probability(
        ScoredMembers(forecast.astype(float), observed.astype(float))
    )
    theirs = probability.crps_for_ensemble(
        xarray.DataArray(forecast.astype(float), dims=("member", "pixel")),
        xarray.DataArray(observed.astype(float), dims=("pixel",)),
        "member",
        method="ecdf",
        preserve_dims="all",
    )
    np.testing.assert_allclose(ours, theirs.to_numpy(), rtol=1e-6, atol=1e-9)


def test_a_perfect_ensemble_is_reliable_and_flat():
    forecast, observed = drawn(9, (2, 200, 300))
    scores = ensemble_scores(nothing(9, spacing=20_000.0).update(forecast, observed))
    json.dumps(scores, allow_nan=False)
    # The spread of 9 members is short of the error of their mean by sqrt(9 / 10).
    np.testing.assert_allclose(scores["spread"], np.array(scores["error"]) * 0.9**0.5, rtol=0.03)
    assert min(scores["flat_ranks_chance"]) > 0.01
    frequency, expected = scores["reliability"]["1.0"][0], scores["probability"]
    many = np.array(scores["said"]["1.0"][0]) > 2000
    share = (observed[0] >= 1.0).mean()
    # All members are of one distribution: whatever they say, the event is as frequent.
    np.testing.assert_allclose(np.array(frequency, float)[many], share, atol=0.04)
    assert len(expected) == 10


@pytest.mark.parametrize(("factor", "shape"), [(0.1, "cup"), (8.0, "dome")])
def test_an_ensemble_with_the_wrong_spread_is_found_out(factor, shape):
    generator = np.random.default_rng(0)
    centre = 20.0 + generator.random((1, 1, 200, 300))
    members = (centre + factor * generator.standard_normal((9, 1, 200, 300))).astype(np.float32)
    observed = (centre + generator.standard_normal((1, 1, 200, 300)))[0].astype(np.float32)
    scores = ensemble_scores(nothing(9, 1, 20_000.0).update(members, observed))
    assert scores["flat_ranks_chance"][0] < 1e-6
    ends = scores["ranks"][0][0] + scores["ranks"][0][-1]
    assert ends > 0.4 if shape == "cup" else ends < 0.1


def test_brier_score_by_hand():
    members = np.array([[[[2.0, 0.0]]], [[[2.0, 3.0]]]])
    observed = np.array([[[2.0, 0.0]]])
    scores = ensemble_scores(nothing(2, 1).update(members, observed))
    # Said 1 and 1/2, came 1 and 0.
    assert scores["brier"]["1.0"] == [pytest.approx((0.0 + 0.25) / 2)]
    assert scores["reliability"]["1.0"] == [[None, 0.0, 1.0]]


def test_ties_are_shared_among_their_ranks():
    pixels = ScoredMembers(np.array([[0.0, 5.0], [0.0, 1.0]]), np.array([0.0, 5.0]))
    # The dry pixel does not count; the other is above one member and equal to one.
    np.testing.assert_allclose(rank_counts(pixels, 0.1), [0.0, 0.5, 0.5])


def test_missing_pixels_do_not_count_and_missing_members_are_dry():
    forecast, observed = drawn(5, (2, 30, 40))
    whole = nothing(spacing=5000.0).update(forecast[:, :, :20], observed[:, :20])
    observed[:, 20:] = np.nan
    part = nothing(spacing=5000.0).update(forecast, observed)
    assert ensemble_scores(part)["crps"] == pytest.approx(ensemble_scores(whole)["crps"])
    forecast[2] = np.nan
    dry = forecast.copy()
    dry[2] = 0.0
    missing = nothing().update(forecast, observed)
    assert (
        ensemble_scores(missing)["crps"] == ensemble_scores(nothing().update(dry, observed))["crps"]
    )


def test_halves_add_up_and_survive_json():
    first, second = (nothing().update(*drawn(5, (2, 30, 40), seed)) for seed in (0, 1))
    whole = first.update(*drawn(5, (2, 30, 40), 1))
    again = EnsembleSums.from_dict(json.loads(json.dumps((first + second).to_dict())))
    np.testing.assert_allclose(again.ranked_probability, whole.ranked_probability)
    np.testing.assert_array_equal(again.said, whole.said)
    np.testing.assert_allclose(again.ranks, whole.ranks)


def test_another_number_of_members_is_refused():
    with pytest.raises(ValueError, match="members of shape"):
        nothing(4).update(*drawn(5, (2, 30, 40)))


def moving_rain():
    generator = np.random.default_rng(0)
    field = np.kron(generator.gamma(0.5, 4.0, (8, 8)), np.ones((8, 8)))
    return np.stack([np.roll(field, 2 * t, 1) for t in range(7)]).astype(np.float32)


@pytest.mark.filterwarnings("ignore")
def test_an_evaluation_scores_ours_beside_steps(tmp_path):
    pytest.importorskip("pysteps")
    setting = Setting(
        "rain_rate", "mm h-1", THRESHOLDS, (5.0, 10.0, 15.0, 20.0), 1000.0, (64, 64), 0.1
    )
    empty = Evaluation.zero(setting, "test", ("model",), True, ("model", "steps"), 3)
    start = np.datetime64("2020-06-01T00:00:00")
    result = score_windows(empty, [(start, moving_rain())], FakeEnsemble())
    scores = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert list(scores["ensembles"]) == ["model", "steps"]
    assert scores["ensembles"]["steps"]["members"] == 3
    assert set(scores["spectra"]["power"]) == {
        "observed",
        "model",
        "model_member",
        "steps_member",
    }
    assert "CRPS in mm h-1, steps" in screen_tables(scores)
    assert "steps member, 20 min" in screen_tables(scores)
    back = Evaluation.from_json(scores)
    assert (back + result).to_json()["ensembles"]["model"]["crps"] == pytest.approx(
        scores["ensembles"]["model"]["crps"]
    )
    pictures = save_evaluation_figures(scores, result.example, tmp_path)
    assert tmp_path / "ensemble.png" in pictures


def test_steps_of_nothing_is_nothing_and_of_two_frames_refused():
    assert not steps_ensemble(np.zeros((3, 20, 20)), 2, 4, 1000.0, 300).any()
    with pytest.raises(ValueError, match="3 frames"):
        steps_ensemble(np.zeros((2, 20, 20)), 2, 4, 1000.0, 300)


def test_members_and_chances_are_written_and_drawn(tmp_path):
    rain = np.random.default_rng(0).gamma(0.5, 4.0, (12, 6, 8))
    radar = write_radar(tmp_path / "radar.nc", rain)
    out = tmp_path / "forecast.nc"
    make_forecast(FakeEnsemble(), [radar], out, members=4)
    with netCDF4.Dataset(out) as file:
        members = np.asarray(file["precip_intensity_members"][:])
        assert members.shape == (4, 4, 6, 8)
        np.testing.assert_allclose(file["precip_intensity"][:], np.median(members, 0), rtol=1e-6)
        chance = file["exceedance_probability"]
        assert chance.dimensions == ("threshold", "time", "y", "x")
        limits = file["threshold"][:]
        for place, limit in enumerate(limits):
            np.testing.assert_allclose(chance[place], (members >= limit).mean(0), atol=1e-6)
    pictures = plot_forecast_file(out, tmp_path / "pictures")
    assert [picture.name for picture in pictures] == ["forecast.png", "forecast_chance.png"]


def test_members_of_one_forecast_are_refused(tmp_path, monkeypatch):
    from hvd_nowcast import forecast as module
    from hvd_nowcast.config import DataSection, NowcastConfig
    from hvd_nowcast.nowcast.predictor import Predictor
    from hvd_nowcast.training.run_folder import RunFolder

    RunFolder(tmp_path / "run").start(NowcastConfig(DataSection(shards="none")))
    monkeypatch.setattr(Predictor, "load", classmethod(lambda cls, run: object()))
    with pytest.raises(ConfigError, match="nowcast_ensemble"):
        list(module.forecast_run(tmp_path / "run", [], tmp_path / "out.nc", members=5))
