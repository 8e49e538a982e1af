"""Sums of scores: truth tables, halves that equal the whole, and pySTEPS as the judge."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from hvd_nowcast.verification.accumulators import (
    ContingencySums,
    ErrorSums,
    FssSums,
    scored_frames,
)
from hvd_nowcast.verification.spectrum import SpectrumSums, wavelengths

THRESHOLDS = (0.1, 1.0)
NAN = np.nan


def rain(*, leads=2, shape=(24, 20), seed=0, missing=0.0):
    """Patchy fields of rain, some pixels missing."""
    generator = np.random.default_rng(seed)
    field = np.maximum(generator.gamma(0.5, 2.0, (leads, *shape)) - 0.5, 0.0)
    field[generator.random(field.shape) < missing] = NAN
    return field.astype(np.float32)


def frames(rows):
    """One lead time and one row of pixels."""
    return np.array(rows, dtype=np.float32).reshape(1, 1, -1)


EMPTY = {
    "contingency": lambda: ContingencySums.zero(2, THRESHOLDS),
    "errors": lambda: ErrorSums.zero(2),
    "fss": lambda: FssSums.zero(2, THRESHOLDS, (1, 5)),
    "spectrum": lambda: SpectrumSums.zero((0, 1), (24, 20), 0.1),
}


@pytest.mark.parametrize(
    ("forecast", "observed", "table"),
    [
        ([2, 2, 2], [2, 2, 2], (3, 0, 0, 0)),
        ([0, 0, 0], [2, 2, 2], (0, 3, 0, 0)),
        ([2, 2, 2], [0, 0, 0], (0, 0, 3, 0)),
        ([0, 0, 0], [0, 0, 0], (0, 0, 0, 3)),
        ([1, 0.99, 1], [1, 1, 0.99], (1, 1, 1, 0)),
        ([-5, -5, 2], [0, 2, 2], (1, 1, 0, 1)),
        ([2, 2, 2], [NAN, NAN, NAN], (0, 0, 0, 0)),
        ([2, 0, NAN], [NAN, 2, 2], (0, 2, 0, 0)),
        ([NAN, NAN, NAN], [0, 2, NAN], (0, 1, 0, 1)),
    ],
    ids=[
        "only hits",
        "only misses",
        "only false alarms",
        "nothing",
        "the threshold itself is an event",
        "negative forecasts are counted",
        "all missing",
        "missing pixels do not count",
        "no forecast is no rain",
    ],
)
def test_truth_table(forecast, observed, table):
    sums = ContingencySums.zero(1, (1.0,)).update(frames(forecast), frames(observed))
    counts = (sums.hits, sums.misses, sums.false_alarms, sums.correct_negatives)
    assert tuple(int(count[0, 0]) for count in counts) == table


def test_errors_by_hand():
    sums = ErrorSums.zero(1).update(frames([1, 4, NAN, 9]), frames([2, 2, 3, NAN]))
    assert (sums.absolute[0], sums.squared[0], sums.pixels[0]) == (1 + 2 + 3, 1 + 4 + 9, 3)


def test_leads_and_thresholds_keep_their_places():
    forecast = np.stack([np.full((3, 3), 0.5), np.full((3, 3), 5.0)])
    sums = ContingencySums.zero(2, THRESHOLDS).update(forecast, np.full((2, 3, 3), 0.5))
    assert_array_equal(sums.hits, [[9, 0], [9, 0]])
    assert_array_equal(sums.false_alarms, [[0, 0], [0, 9]])


@pytest.mark.parametrize("kind", EMPTY)
def test_halves_equal_the_whole(kind):
    pairs = [(rain(seed=s), rain(seed=s + 100, missing=0.2)) for s in range(5)]
    whole, first, second = EMPTY[kind](), EMPTY[kind](), EMPTY[kind]()
    for place, (forecast, observed) in enumerate(pairs):
        whole = whole.update(forecast, observed)
        if place < 2:
            first = first.update(forecast, observed)
        else:
            second = second.update(forecast, observed)
    expected = whole.to_dict()
    for name, value in (second + first).to_dict().items():
        assert_allclose(value, expected[name])


@pytest.mark.parametrize("kind", EMPTY)
def test_survives_json(kind):
    sums = EMPTY[kind]().update(rain(), rain(seed=1))
    again = type(sums).from_dict(json.loads(json.dumps(sums.to_dict())))
    assert (again + EMPTY[kind]()).to_dict() == sums.to_dict()


@pytest.mark.parametrize("kind", EMPTY)
def test_sources_see_the_same_pixels(kind):
    """What a forecast says where nothing was observed changes nothing."""
    observed = rain(seed=1, missing=0.3)
    forecast = rain(seed=2)
    other = np.where(np.isnan(observed), 50.0, forecast)
    sums, others = (EMPTY[kind]().update(f, observed).to_dict() for f in (forecast, other))
    assert sums == others


@pytest.mark.parametrize("kind", EMPTY)
def test_update_leaves_the_old_sums(kind):
    empty = EMPTY[kind]()
    before = empty.to_dict()
    empty.update(rain(), rain(seed=1))
    assert empty.to_dict() == before


def test_different_thresholds_do_not_add():
    with pytest.raises(ValueError, match="different thresholds"):
        ContingencySums.zero(2, (1.0,)) + ContingencySums.zero(2, (2.0,))


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="must be alike"):
        list(scored_frames(np.zeros((2, 3, 3)), np.zeros((1, 3, 3))))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_every_valid_pixel_is_counted_once(seed, missing):
    forecast, observed = rain(seed=seed, missing=0.1), rain(seed=seed + 1, missing=missing)
    sums = ContingencySums.zero(2, THRESHOLDS).update(forecast, observed)
    total = sums.hits + sums.misses + sums.false_alarms + sums.correct_negatives
    valid = np.isfinite(observed).sum(axis=(1, 2))
    assert_array_equal(total, np.stack([valid, valid], axis=1))


@pytest.mark.parametrize("window", [1, 4, 5, 20])
def test_fss_sums_agree_with_pysteps(window):
    spatialscores = pytest.importorskip("pysteps.verification.spatialscores")
    forecast, observed = rain(leads=1, shape=(60, 40)), rain(leads=1, shape=(60, 40), seed=1)
    ours = FssSums.zero(1, (1.0,), (window,)).update(forecast, observed)
    theirs = spatialscores.fss_init(1.0, window)
    spatialscores.fss_accum(theirs, forecast[0].astype(float), observed[0].astype(float))
    assert_allclose(ours.forecast_squared.item(), theirs["sum_fct_sq"])
    assert_allclose(ours.observed_squared.item(), theirs["sum_obs_sq"])
    assert_allclose(ours.product.item(), theirs["sum_fct_obs"])


def test_spectrum_finds_a_wave():
    pytest.importorskip("pysteps")
    wave = 10.0 * (2.0 + np.sin(2 * np.pi * np.arange(64) / 8))
    field = np.broadcast_to(wave, (2, 48, 64))
    sums = SpectrumSums.zero((1,), (48, 64), None).update(field, field)
    peak = wavelengths(48, 2.0)[np.argmax(sums.power[0, 1:])]
    assert peak == 16.0


def test_spectrum_of_a_dry_field_is_zero():
    pytest.importorskip("pysteps")
    dry = np.full((2, 16, 16), 0.05)
    sums = SpectrumSums.zero((0,), (16, 16), 0.1).update(dry, dry)
    assert_array_equal(sums.power, 0.0)
    assert sums.fields.tolist() == [1]


@pytest.mark.parametrize("side", [7, 8])
def test_wavelengths_match_the_spectrum(side):
    sums = SpectrumSums.zero((0,), (side, side + 3), None)
    assert len(wavelengths(side, 1.0)) == sums.power.shape[1] - 1
    assert wavelengths(side, 1.0)[0] == side
