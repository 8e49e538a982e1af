"""What is asked of a model that forecasts, wherever it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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

    def members(self, frames: Array, numbers: Iterable[int]) -> Iterator[Array]:
        """Forecasts of the same frames, one for each number, each as likely as the others.

        The same number and frames always give the same forecast.
        """


class AroundModel:
    """What a model around another is before it changes anything.

    Parameters
    ----------
    model
        The other.
    """

    def __init__(self, model: NowcastModel) -> None:
        self.frames_in, self.frames_out = model.frames_in, model.frames_out
        self.step_seconds, self.quantity = model.step_seconds, model.quantity
        self.grid_spacing, self.fingerprint = model.grid_spacing, model.fingerprint
        self._model = model


def draw_members(model: EnsembleModel, frames: Array, count: int) -> Array:
    """All members at once, shape (count, frames_out, y, x)."""
    return np.stack(list(model.members(frames, range(count))))


def middle_member(members: Array) -> Array:
    """The one forecast of an ensemble: its median, of the shape of a member."""
    middle: Array = np.median(members, 0)
    return middle
