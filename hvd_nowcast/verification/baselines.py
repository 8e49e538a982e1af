"""What a forecast has to beat: persistence, and extrapolation along the optical flow."""

from __future__ import annotations

import contextlib
import io
import sys
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.optional import import_optional

FLOW_FRAMES = 3
DRY_STEP_DECIBEL = 5.0


def persistence(frames: NDArray[np.floating[Any]], leads: int) -> NDArray[np.float32]:
    """Repeat the newest frame.

    Parameters
    ----------
    frames
        Observed frames, shape (t, y, x), physical units, NaN where missing.
    leads
        Number of frames to forecast.

    Returns
    -------
    numpy.ndarray
        Shape (leads, y, x); NaN where the newest frame is.
    """
    return np.repeat(frames[-1:].astype(np.float32), leads, axis=0)


def optical_flow(
    frames: NDArray[np.floating[Any]], leads: int, wet_threshold: float = 0.1
) -> NDArray[np.float32]:
    """Move the newest frame along the motion of the last three.

    Motion is dense Lucas-Kanade of pySTEPS on the field in decibel, extrapolation is
    semi-Lagrangian and of constant intensity (Pulkkinen et al. 2019,
    doi:10.5194/gmd-12-4185-2019). Missing input is taken for dry.

    Parameters
    ----------
    frames
        Observed frames, shape (t, y, x) with at least two times, physical units, NaN where
        missing.
    leads
        Number of frames to forecast.
    wet_threshold
        Weaker values are dry when the motion is sought, in the unit of the field.

    Returns
    -------
    numpy.ndarray
        Shape (leads, y, x); NaN where the motion comes from outside the domain, all zero when
        nothing in the newest frame is wet.

    Raises
    ------
    MissingDependencyError
        When pySTEPS is not installed.
    ValueError
        When there is only one frame.
    """
    if len(frames) < 2:
        raise ValueError("optical flow needs at least two frames")
    rain = np.nan_to_num(frames[-FLOW_FRAMES:].astype(np.float64))
    if not (rain[-1] >= wet_threshold).any():
        return np.zeros((leads, *rain.shape[1:]), np.float32)
    import_pysteps()
    from pysteps.motion.lucaskanade import dense_lucaskanade
    from pysteps.nowcasts.extrapolation import forecast

    with contextlib.redirect_stdout(io.StringIO()):
        velocity = dense_lucaskanade(_decibel(rain, wet_threshold))
        moved: NDArray[np.floating[Any]] = forecast(rain[-1], velocity, leads)
    return moved.astype(np.float32)


def steps_ensemble(
    frames: NDArray[np.floating[Any]],
    leads: int,
    members: int,
    spacing: float,
    step_seconds: float,
    wet_threshold: float = 0.1,
) -> NDArray[np.float32]:
    """Members of pySTEPS' stochastic ensemble (STEPS), in its usual form.

    The newest frame moves on along a perturbed motion, and each scale of it is replaced by noise
    of the observed spectrum as fast as that scale is forgotten (Bowler et al. 2006,
    doi:10.1256/qj.04.100; Pulkkinen et al. 2019, doi:10.5194/gmd-12-4185-2019). The same frames
    give the same members.

    Parameters
    ----------
    frames, leads, wet_threshold
        As of `optical_flow`.
    members
        How many.
    spacing
        Pixel size in metres.
    step_seconds
        Time between frames.

    Returns
    -------
    numpy.ndarray
        Shape (members, leads, y, x), NaN where the motion comes from outside the domain.

    Raises
    ------
    MissingDependencyError, ValueError
        As of `optical_flow`.
    """
    if len(frames) < FLOW_FRAMES:
        raise ValueError(f"STEPS needs {FLOW_FRAMES} frames")
    rain = np.nan_to_num(frames[-FLOW_FRAMES:].astype(np.float64))
    if not (rain[-1] >= wet_threshold).any():
        return np.zeros((members, leads, *rain.shape[1:]), np.float32)
    import_pysteps()
    from pysteps.motion.lucaskanade import dense_lucaskanade
    from pysteps.nowcasts.steps import forecast

    decibel = _decibel(rain, wet_threshold)
    with contextlib.redirect_stdout(io.StringIO()):
        drawn: NDArray[np.floating[Any]] = forecast(
            decibel,
            dense_lucaskanade(decibel),
            leads,
            n_ens_members=members,
            precip_thr=10.0 * np.log10(wet_threshold),
            kmperpixel=spacing / 1000.0,
            timestep=step_seconds / 60.0,
            seed=0,
        )
    wet = 10.0 ** (drawn / 10.0)
    return np.where(wet < wet_threshold, 0.0, wet).astype(np.float32)


def _decibel(rain: NDArray[np.float64], wet_threshold: float) -> NDArray[np.float64]:
    """``10 log10 R``, dry pixels a fixed step below the threshold."""
    decibel: NDArray[np.float64] = 10.0 * np.log10(np.maximum(rain, wet_threshold))
    decibel[rain < wet_threshold] -= DRY_STEP_DECIBEL
    return decibel


def import_pysteps() -> ModuleType:
    """Import pySTEPS without the line it prints.

    Raises
    ------
    MissingDependencyError
        When it, or OpenCV for its motion vectors, is not installed.
    """
    if "pysteps" in sys.modules:
        return sys.modules["pysteps"]
    purpose = "optical flow and spectra need pySTEPS and OpenCV"
    with contextlib.redirect_stdout(io.StringIO()):
        # pySTEPS imports OpenCV lazily and fails only in mid-computation.
        for name in ("cv2", "pysteps"):
            import_optional(name, purpose, "pysteps opencv-python-headless")
    return sys.modules["pysteps"]
