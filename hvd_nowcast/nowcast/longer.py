"""Forecasts to any lead time: a model goes on from what it has forecast itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.nowcast.model import AroundModel, EnsembleModel, NowcastModel

Array = NDArray[np.float32]


class ToLeadTime(AroundModel):
    """A model whose forecast is as long as is wanted.

    When its own is shorter, it is given the newest of what was seen and forecast, and so on. Errors
    add up, and nothing new comes in from outside the frame: skill is that of rain which persists.

    Parameters
    ----------
    model
        The model.
    frames_out
        Frames to forecast.
    """

    def __init__(self, model: NowcastModel, frames_out: int) -> None:
        super().__init__(model)
        self.frames_out = frames_out

    def forecast(self, frames: Array) -> Array:
        """Physical frames (frames_in, y, x), NaN where missing, to (frames_out, y, x)."""
        return self._continued(frames, self._model.forecast(frames), self._model.forecast)

    def _continued(self, frames: Array, found: Array, go_on: Callable[[Array], Array]) -> Array:
        """A forecast from some frames, as long as is wanted."""
        # The model forecasts everywhere; what radar does not see stays unseen.
        missing = np.isnan(frames[-1])
        while len(found) < self.frames_out:
            known = np.where(missing, np.float32(np.nan), found)
            seen = np.concatenate([frames, known])[-self.frames_in :]
            found = np.concatenate([found, go_on(seen)])
        return found[: self.frames_out]


class EnsembleToLeadTime(ToLeadTime):
    """A model of ensembles of which each member goes on from itself, see `ToLeadTime`."""

    _model: EnsembleModel

    def members(self, frames: Array, numbers: Iterable[int]) -> Iterator[Array]:
        """The forecasts of some numbers, see `EnsembleModel`."""
        numbers = list(numbers)
        for number, member in zip(numbers, self._model.members(frames, numbers), strict=True):
            yield self._continued(frames, member, partial(self._member, number))

    def _member(self, number: int, seen: Array) -> Array:
        (member,) = self._model.members(seen, [number])
        return member


def to_lead_time(model: NowcastModel, minutes: int | None) -> NowcastModel:
    """The model with a forecast of some minutes: itself where that is what it makes.

    Raises
    ------
    ConfigError
        When the minutes are no multiple of its time step.
    """
    if minutes is None or 60 * minutes == model.frames_out * model.step_seconds:
        return model
    steps, rest = divmod(60 * minutes, model.step_seconds)
    if steps < 1 or rest:
        raise ConfigError(
            f"--minutes {minutes}: give a multiple of {model.step_seconds / 60:g}, the minutes "
            "between the frames of this model"
        )
    kind = EnsembleToLeadTime if isinstance(model, EnsembleModel) else ToLeadTime
    return kind(model, steps)
