"""A model on frames whose pixels are not of the size it was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.loader.resampling import LARGEST_SPACING_CHANGE, resample, resampled_shape
from hvd_nowcast.nowcast.model import AroundModel, EnsembleModel, NowcastModel

Array = NDArray[np.float32]


class AtSpacing(AroundModel):
    """A model that is given frames of another pixel size and forecasts on their grid.

    Frames go to the pixels of the model and its forecast comes back by means over areas, or
    interpolated, see `resample`.

    Parameters
    ----------
    model
        The model.
    grid_spacing
        Pixel size of the frames in metres.
    """

    def __init__(self, model: NowcastModel, grid_spacing: float) -> None:
        super().__init__(model)
        self.grid_spacing = grid_spacing

    def forecast(self, frames: Array) -> Array:
        """Physical frames (frames_in, y, x), NaN where missing, to (frames_out, y, x)."""
        return resample(self._model.forecast(self._seen(frames)), frames.shape[1:])

    def _seen(self, frames: Array) -> Array:
        ratio = self.grid_spacing / self._model.grid_spacing
        return resample(frames, resampled_shape(frames.shape[1:], ratio))


class EnsembleAtSpacing(AtSpacing):
    """A model of ensembles that is given frames of another pixel size, see `AtSpacing`."""

    _model: EnsembleModel

    def members(self, frames: Array, numbers: Iterable[int]) -> Iterator[Array]:
        """Forecasts of some numbers, see `EnsembleModel`."""
        for member in self._model.members(self._seen(frames), numbers):
            yield resample(member, frames.shape[1:])


def at_spacing(model: NowcastModel, grid_spacing: float) -> NowcastModel:
    """The model for frames of a pixel size: itself where that is about its own."""
    if abs(grid_spacing / model.grid_spacing - 1) <= LARGEST_SPACING_CHANGE:
        return model
    kind = EnsembleAtSpacing if isinstance(model, EnsembleModel) else AtSpacing
    return kind(model, grid_spacing)
