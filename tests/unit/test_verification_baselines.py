"""Baselines: what is moved must arrive where it was going."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from hvd_nowcast.errors import MissingDependencyError
from hvd_nowcast.verification.baselines import import_pysteps, optical_flow, persistence


def moving_rain(*, frames=4, step=3, side=128):
    """Blobs that move to the right by some pixels per frame."""
    y, x = np.mgrid[:side, :side]
    places = [(30, 20, 6), (64, 40, 8), (95, 25, 5), (50, 70, 7), (100, 80, 6)]
    return np.stack(
        [
            sum(
                20.0 * np.exp(-((y - row) ** 2 + (x - column - step * k) ** 2) / (2 * size**2))
                for row, column, size in places
            )
            for k in range(frames)
        ]
    ).astype(np.float32)


def test_persistence_repeats_the_newest_frame():
    frames = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    frames[2, 0, 0] = np.nan
    forecast = persistence(frames, 4)
    assert forecast.shape == (4, 2, 2)
    for frame in forecast:
        assert_array_equal(frame, frames[2])


def test_optical_flow_follows_the_motion():
    pytest.importorskip("pysteps")
    truth = moving_rain(frames=10)
    forecast = np.nan_to_num(optical_flow(truth[:4], 6))
    error = np.abs(forecast - truth[4:]).mean()
    assert error < 0.2 * np.abs(persistence(truth[:4], 6) - truth[4:]).mean()


def test_optical_flow_is_silent_and_has_no_value_upstream(capsys):
    pytest.importorskip("pysteps")
    forecast = optical_flow(moving_rain(), 6)
    assert capsys.readouterr() == ("", "")
    assert forecast.dtype == np.float32
    assert np.isnan(forecast[-1][:, :10]).all()


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_optical_flow_of_nothing_is_nothing(value):
    assert_array_equal(optical_flow(np.full((3, 16, 16), value, np.float32), 2), 0.0)


@pytest.mark.parametrize("shape", [(24, 24), (37, 48)])
def test_optical_flow_takes_small_frames_without_features(shape):
    pytest.importorskip("pysteps")
    forecast = optical_flow(np.ones((3, *shape), np.float32), 2)
    assert_array_equal(np.nan_to_num(forecast, nan=1.0), 1.0)


def test_optical_flow_needs_two_frames():
    with pytest.raises(ValueError, match="two frames"):
        optical_flow(np.ones((1, 8, 8), np.float32), 2)


def test_import_prints_nothing():
    pytest.importorskip("pysteps")
    code = "from hvd_nowcast.verification.baselines import import_pysteps as i; i()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == ""


def test_missing_pysteps_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "pysteps", raising=False)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependencyError, match="pip install pysteps"):
        import_pysteps()
