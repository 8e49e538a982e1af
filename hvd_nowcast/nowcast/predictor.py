"""A trained run as a function from frames to frames, in physical units, for any frame size."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.config import NowcastConfig
from hvd_nowcast.loader.motion import (
    MOTION_FRAMES,
    estimate_motion,
    extrapolate,
    grey_levels,
)
from hvd_nowcast.loader.noise import correlated_noise
from hvd_nowcast.loader.pipeline import round_up
from hvd_nowcast.loader.scaling import Scaling, scaling_from_dict
from hvd_nowcast.models.nowcast import build_nowcast, size_multiple
from hvd_nowcast.nowcast.member_rates import give_rates, sorted_rates
from hvd_nowcast.nowcast.model import draw_members, middle_member
from hvd_nowcast.nowcast.strong_rain import restore_strong_rain
from hvd_nowcast.nowcast.texture import give_texture
from hvd_nowcast.shards.schema import QUANTITIES
from hvd_nowcast.training.checkpoint import load_weights
from hvd_nowcast.training.run_folder import RunFolder
from hvd_nowcast.verification.ensemble import MEMBERS

if TYPE_CHECKING:
    from typing_extensions import Self

Array = NDArray[np.float32]

# A frame up to this side is predicted whole; a larger one in overlapping tiles, so that memory
# does not grow with the frame.
TILE = 768
OVERLAP = 128


class Predictor:
    """The best weights of a run.

    Parameters
    ----------
    config
        Configuration of the run.
    model
        Network with its weights.
    scaling
        As fitted in training.
    quantity
        ``rain_rate`` or ``vil``.
    step_seconds
        Time between frames.
    grid_spacing
        Pixel size in metres the model was trained on.
    fingerprint
        SHA-256 of the file of weights.
    """

    def __init__(
        self,
        config: NowcastConfig,
        model: keras.Model,
        scaling: Scaling,
        quantity: str,
        step_seconds: int,
        grid_spacing: float,
        fingerprint: str,
    ) -> None:
        self.config = config
        self.quantity = quantity
        self.step_seconds = step_seconds
        self.grid_spacing = grid_spacing
        self.fingerprint = fingerprint
        self.frames_in = config.data.frames_in
        self.frames_out = config.data.frames_out
        self._model = model
        self._scaling = scaling
        self._frames_shown, self._motion_shown = self.frames_in, True

    @classmethod
    def load(cls, run_folder: str | Path) -> Predictor:
        """Read a run folder; an `EnsemblePredictor` where the model is shown noise.

        Raises
        ------
        RunFolderError
            When it is no run, or has no weights yet.
        ConfigError
            When its ``config.yaml`` has a setting for rain, and the run is of another quantity.
        """
        run = RunFolder(run_folder)
        config = run.config_of(NowcastConfig)
        weights = run.require_weights()
        data = run.read_json("data.json")
        config.require_fits(data["quantity"], run.path)
        model = build_nowcast(config.model, config.data.frames_in, config.data.frames_out)
        facts = load_weights(weights, model)
        kind = EnsemblePredictor if config.model.noise else cls
        return kind(
            config,
            model,
            scaling_from_dict(run.read_json("scaler.json")),
            data["quantity"],
            data["step_seconds"],
            data["grid_spacing"],
            facts["sha256"],
        )

    def take_weights(self, path: Path) -> None:
        """Use the weights of another run of the same configuration and scaling from now on.

        Raises
        ------
        CheckpointError
            When they are damaged, or of another network.
        """
        load_weights(path, self._model)

    def shown_less(self, frames: int, motion: bool) -> Self:
        """Make the same network that is shown less of its input.

        Parameters
        ----------
        frames
            Newest frames it is shown; the oldest of them stands in the place of older ones.
        motion
            Whether it is shown moved frames (of the frames that are left); else they are missing
            everywhere, as they are where the rain comes from outside.
        """
        less = copy.copy(self)
        less._frames_shown, less._motion_shown = frames, motion
        return less

    def forecast(self, frames: Array) -> Array:
        """Predict the frames that follow.

        Parameters
        ----------
        frames
            Physical values, NaN where missing, shape ``(frames_in, y, x)``, oldest first.

        Returns
        -------
        numpy.ndarray
            Physical values, never negative, shape ``(frames_out, y, x)``.

        Raises
        ------
        ValueError
            When the number of frames is not the model's.
        """
        shown = self._shown(frames)
        forecast, section = self._forecast(shown, None), self.config.model
        moved, known = shown[self.frames_in :], np.isfinite(frames[-1])
        forecast = restore_strong_rain(forecast, moved, known, section.strong_rain)
        return give_texture(forecast, moved, section.texture)

    def _shown(self, frames: Array) -> Array:
        """Frames, and the moved ones behind them."""
        if frames.ndim != 3 or len(frames) != self.frames_in:
            raise ValueError(
                f"expected frames of shape ({self.frames_in}, y, x), got {frames.shape}"
            )
        seen = newest_frames(frames, self._frames_shown)
        return np.concatenate([seen, self._moved(seen)])

    def _forecast(self, shown: Array, noise: Array | None) -> Array:
        rows, columns = shown.shape[1:]
        total = np.zeros((self.frames_out, rows, columns), np.float32)
        weights = np.zeros((rows, columns), np.float32)
        multiple = size_multiple(self.config.model)
        for y in tile_slices(rows, TILE, OVERLAP, multiple):
            for x in tile_slices(columns, TILE, OVERLAP, multiple):
                weight = edge_weight(y, rows, OVERLAP)[:, None] * edge_weight(x, columns, OVERLAP)
                part = None if noise is None else noise[:, y, x]
                total[:, y, x] += weight * self._forecast_tile(shown[:, y, x], part)
                weights[y, x] += weight
        return total / weights

    def _moved(self, frames: Array) -> Array:
        """The newest frame moved on to each lead time, for a model that is shown it."""
        if not self.config.model.advection:
            return frames[:0]
        if not self._motion_shown:
            return np.full((self.frames_out, *frames.shape[1:]), np.nan, np.float32)
        images = grey_levels(frames[-MOTION_FRAMES:], QUANTITIES[self.quantity].wet_threshold)
        return extrapolate(frames[-1], estimate_motion(images).on(), self.frames_out)

    def _forecast_tile(self, shown: Array, noise: Array | None) -> Array:
        """Forecast from frames, and from moved frames behind them where there are any."""
        rows, columns = shown.shape[1:]
        seen = self._channels_last(shown)
        known = np.isfinite(seen).astype(np.float32)
        scaled = np.nan_to_num(self._scaling.forward(seen)).astype(np.float32)
        frames, moved = np.split(scaled, [self.frames_in], -1)
        valid, valid_moved = np.split(known, [self.frames_in], -1)
        inputs = [frames, valid.min(-1, keepdims=True)]
        inputs += [moved, valid_moved] if moved.shape[-1] else []
        inputs += [] if noise is None else [self._channels_last(noise)]
        forecast = np.asarray(self._model(inputs, training=False))[0, :rows, :columns]
        values = self._scaling.inverse(forecast).transpose(2, 0, 1)
        return np.minimum(values, QUANTITIES[self.quantity].valid_max).astype(np.float32)

    def _channels_last(self, fields: Array) -> Array:
        """Fields (t, y, x) as one sample (1, y, x, t) of a size that the network can halve."""
        multiple = size_multiple(self.config.model)
        sides = [(0, round_up(size, multiple) - size) for size in fields.shape[1:]]
        # Mirrored rain is what the network was trained on; a border of missing pixels is not.
        padded = np.pad(fields, [(0, 0), *sides], mode="reflect")
        batch: Array = padded.transpose(1, 2, 0)[None]
        return batch


class EnsemblePredictor(Predictor):
    """The best weights of a run whose network is shown noise."""

    def forecast(self, frames: Array) -> Array:
        """Median of an ensemble, see `Predictor`."""
        return middle_member(draw_members(self, frames, MEMBERS))

    def members(self, frames: Array, numbers: Iterable[int]) -> Iterator[Array]:
        """Predict the frames that follow, once for each number, each as likely as the others.

        The same number and frames always give the same forecast.

        Parameters
        ----------
        frames
            As of `forecast`.
        numbers
            Not negative.

        Yields
        ------
        numpy.ndarray
            One member, of the shape of `forecast`.

        Raises
        ------
        ValueError
            When the number of frames is not the model's.
        """
        shown = self._shown(frames)
        known = np.isfinite(frames[-1])
        there = sorted_rates(shown[self.frames_in :], known)
        wet = QUANTITIES[self.quantity].wet_threshold
        rows, columns = frames.shape[1:]
        for number in numbers:
            generator = np.random.default_rng(number)
            noise = correlated_noise(generator, self.config.model.noise, (rows, columns))
            yield give_rates(self._forecast(shown, noise), there, known, wet)


def newest_frames(frames: Array, count: int) -> Array:
    """Frames (t, y, x), the oldest of the newest ones in the place of all that are older."""
    older = len(frames) - count
    return np.concatenate([np.repeat(frames[older : older + 1], older, 0), frames[older:]])


def tile_slices(size: int, tile: int, overlap: int, multiple: int) -> Iterator[slice]:
    """Cover ``range(size)`` by slices of at most ``tile`` that overlap by ``overlap`` or more.

    Starts are multiples of what the network halves down to, so that a pixel is pooled with the
    same neighbours in every tile.
    """
    if size <= tile:
        yield slice(0, size)
        return
    step = (tile - overlap) // multiple * multiple
    for start in range(0, round_up(size - tile, step) + 1, step):
        yield slice(start, min(start + tile, size))


def edge_weight(part: slice, size: int, overlap: int) -> Array:
    """Weight along one side of a tile: 1 inside, falling towards edges shared with a neighbour.

    Parameters
    ----------
    part
        The tile along this side.
    size
        Of the whole.
    overlap
        Pixels over which it falls.
    """
    position = np.arange(part.stop - part.start, dtype=np.float32) + 1
    falling = np.minimum(position / overlap, 1)
    rise = np.ones_like(falling) if part.start == 0 else falling
    fall = np.ones_like(falling) if part.stop == size else falling[::-1]
    return rise * fall
