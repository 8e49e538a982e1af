"""What is asked of a model that forecasts, wherever it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class NowcastModel(Protocol):
    """A function from frames to frames; `hvd_nowcast.nowcast.predictor.Predictor` is one."""

    frames_in: int
    frames_out: int
    step_seconds: int
    quantity: str
    grid_spacing: float
    fingerprint: str

    def forecast(self, frames: Array) -> Array:
        """Physical frames (frames_in, y, x), NaN where missing, to (frames_out, y, x)."""


@runtime_checkable
class EnsembleModel(NowcastModel, Protocol):
    """A model whose forecasts are drawn; `hvd_nowcast.nowcast.predictor.EnsemblePredictor`."""

    def members(self, frames: Array, count: int) -> Iterator[Array]:
        """So many forecasts of the same frames, each as likely as the others."""


def draw_members(model: EnsembleModel, frames: Array, count: int) -> Array:
    """All members at once, shape (count, frames_out, y, x)."""
    return np.stack(list(model.members(frames, count)))


def middle_member(members: Array) -> Array:
    """The one forecast of an ensemble: its median, of the shape of a member."""
    middle: Array = np.median(members, 0)
    return middle
