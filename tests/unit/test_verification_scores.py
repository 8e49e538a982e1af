"""Scores from sums: known values, undefined ones, and the package `scores` from the fields."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

from hvd_nowcast.errors import MissingDependencyError
from hvd_nowcast.verification.accumulators import ContingencySums, ErrorSums, FssSums
from hvd_nowcast.verification.scores import (
    SourceSums,
    contingency_scores,
    error_scores,
    fractions_skill_score,
    fss_windows,
    score_table,
)

NAN = np.nan


def rain(seed, shape=(3, 30, 26)):
    return np.random.default_rng(seed).gamma(0.5, 2.0, shape).astype(np.float32)


def contingency(hits, misses, false_alarms, correct_negatives):
    counts = [np.array([[n]]) for n in (hits, misses, false_alarms, correct_negatives)]
    return ContingencySums((1.0,), *counts)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ((5, 0, 0, 5), {"csi": 1, "pod": 1, "far": 0, "sucr": 1, "bias": 1}),
        ((0, 5, 0, 5), {"csi": 0, "pod": 0, "far": NAN, "sucr": NAN, "bias": 0}),
        ((0, 0, 5, 5), {"csi": 0, "pod": NAN, "far": 1, "sucr": 0, "bias": NAN}),
        ((0, 0, 0, 9), {"csi": NAN, "pod": NAN, "far": NAN, "sucr": NAN, "bias": NAN}),
        ((6, 2, 4, 8), {"csi": 0.5, "pod": 0.75, "far": 0.4, "sucr": 0.6, "bias": 1.25}),
    ],
    ids=["only hits", "only misses", "only false alarms", "nothing", "some of each"],
)
def test_contingency_scores(table, expected):
    computed = {k: v.item() for k, v in contingency_scores(contingency(*table)).items()}
    assert computed == pytest.approx(expected, nan_ok=True)


def test_contingency_scores_agree_with_scores_of_the_fields():
    categorical = pytest.importorskip("scores.categorical")
    xarray = pytest.importorskip("xarray")
    forecast, observed = rain(1), rain(2)
    sums = ContingencySums.zero(3, (0.1, 2.0)).update(forecast, observed)
    manager = categorical.ThresholdEventOperator(default_event_threshold=2.0)
    fields = [xarray.DataArray(f, dims=("lead", "y", "x")) for f in (forecast, observed)]
    theirs = manager.make_contingency_manager(*fields).transform(reduce_dims=["y", "x"])
    ours = contingency_scores(sums)
    assert_allclose(ours["csi"][:, 1], theirs.critical_success_index())
    assert_allclose(ours["pod"][:, 1], theirs.probability_of_detection())
    assert_allclose(ours["far"][:, 1], theirs.false_alarm_ratio())
    assert_allclose(ours["sucr"][:, 1], theirs.success_ratio())
    assert_allclose(ours["bias"][:, 1], theirs.frequency_bias())


def test_errors_agree_with_numpy():
    forecast, observed = rain(1), rain(2)
    ours = error_scores(ErrorSums.zero(3).update(forecast, observed))
    error = forecast.astype(float) - observed
    assert_allclose(ours["mae"], np.abs(error).mean(axis=(1, 2)))
    assert_allclose(ours["rmse"], np.sqrt((error**2).mean(axis=(1, 2))))


def test_errors_of_no_pixels_are_undefined():
    assert np.isnan(error_scores(ErrorSums.zero(2))["rmse"]).all()


def test_fss_agrees_with_pysteps_over_several_fields():
    spatialscores = pytest.importorskip("pysteps.verification.spatialscores")
    ours, theirs = FssSums.zero(1, (1.0,), (5,)), spatialscores.fss_init(1.0, 5)
    for seed in range(3):
        forecast, observed = rain(seed, (1, 30, 26)), rain(seed + 10, (1, 30, 26))
        ours = ours.update(forecast, observed)
        spatialscores.fss_accum(theirs, forecast[0].astype(float), observed[0].astype(float))
    assert_allclose(fractions_skill_score(ours).item(), spatialscores.fss_compute(theirs))


def test_fss_of_known_forecasts():
    def skill(forecast, observed):
        return fractions_skill_score(
            FssSums.zero(1, (1.0,), (1,)).update(forecast, observed)
        ).item()

    wet, dry = np.full((1, 8, 8), 2.0), np.zeros((1, 8, 8))
    assert (skill(wet, wet), skill(wet, dry), skill(dry, wet)) == (1.0, 0.0, 0.0)
    assert np.isnan(skill(dry, dry))


def test_fss_forgives_a_shift_at_larger_scales():
    observed = np.zeros((1, 40, 40))
    observed[:, 10:14, 10:14] = 5.0
    shifted = np.roll(observed, 4, axis=2)
    skill = fractions_skill_score(FssSums.zero(1, (1.0,), (1, 5, 20)).update(shifted, observed))
    assert skill[0, 0, 0] == 0.0
    assert np.all(np.diff(skill[0, 0]) > 0)


@pytest.mark.parametrize(
    ("spacing", "pixels"), [(1000.0, (1, 5, 20)), (2000.0, (1, 2, 10)), (500.0, (2, 10, 40))]
)
def test_fss_windows_follow_the_pixel_size(spacing, pixels):
    assert fss_windows(spacing) == pixels


def test_table_has_one_value_for_each_lead_time():
    table = score_table(SourceSums.zero(3, (0.1, 1.0), (1, 5, 20)).update(rain(1), rain(2)))
    assert set(table) == {"csi", "pod", "far", "sucr", "bias", "fss", "mae", "rmse"}
    assert list(table["csi"]) == ["0.1", "1.0"]
    assert list(table["mae"]) == ["all"]
    assert "1.0@5km" in table["fss"]
    assert len(table["fss"]) == 6
    assert {len(values) for keys in table.values() for values in keys.values()} == {3}


def test_table_says_null_where_a_score_is_undefined():
    table = score_table(SourceSums.zero(1, (1.0,), (1, 5, 20)))
    assert {v for keys in table.values() for values in keys.values() for v in values} == {None}


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scores.categorical", None)
    with pytest.raises(MissingDependencyError, match="pip install scores"):
        contingency_scores(contingency(1, 1, 1, 1))
