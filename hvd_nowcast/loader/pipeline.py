"""From stored frames to batches: read, crop, flip, and decode as the first operation of the step.

Shapes: b batch, t frames (in + out), y rows, x columns. Frames stay in their stored one- or
two-byte codes until they are in the graph of the step, so reading, cropping, copying and sending
them to a device move few bytes.
"""

from __future__ import annotations

import itertools
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hvd_nowcast.config import DataSection
from hvd_nowcast.loader.assignment import SampleOrder
from hvd_nowcast.loader.augmentation import Augmentation
from hvd_nowcast.loader.code_extrapolation import CodeExtrapolation
from hvd_nowcast.loader.decoding import Decoder, look_up
from hvd_nowcast.loader.motion import Part, take_part
from hvd_nowcast.loader.noise import correlated_noise, noise_codes, noise_table
from hvd_nowcast.loader.read_ahead import read_ahead
from hvd_nowcast.loader.scaling import Scaling
from hvd_nowcast.optional import find_opencv
from hvd_nowcast.shards.index import JointIndex, WindowIndex
from hvd_nowcast.shards.reader import CodeReader
from hvd_nowcast.shards.schema import Codes, Packing

Windows = WindowIndex | JointIndex
Index = TypeVar("Index", WindowIndex, JointIndex)

# From a whole window to the part that is wanted, with what else the model is shown.
Take = Callable[[Codes, Part | None], Codes]
# Which of some codes are rain.
IsWet = Callable[[Codes], NDArray[np.bool_]]

CROP_CANDIDATES = 4
# Members of an ensemble that a training compares: the fewest that a spread can be told from.
TRAINING_MEMBERS = 2
# From (b, t, y, x).
CHANNELS_LAST = (0, 2, 3, 1)
# Share of wet pixels from which more rain makes a sample no more worth drawing.
WIDESPREAD = 0.2


class StoredBatch(NamedTuple):
    """What one step is given: windows as they are stored.

    Attributes
    ----------
    codes
        Frames to see, moved frames, frames to come and noise, uint8 or uint16, shape (b, t, y, x).
    intensity
        What the rain of each sample is multiplied by, float32, shape (b,).
    """

    codes: tf.Tensor
    intensity: tf.Tensor


class Batch(NamedTuple):
    """What model and loss are given, all float32.

    Attributes
    ----------
    inputs
        Scaled frames, shape (b, y, x, frames_in); missing pixels are 0, no rain.
    valid_inputs
        1 where every input frame has data, else 0, shape (b, y, x, 1).
    target
        Scaled frames to predict, shape (b, y, x, frames_out).
    weight
        1 where the target has data, else 0, shape (b, y, x, frames_out).
    moved, valid_moved
        The newest frame moved on to each lead time and where that is known, shape (b, y, x,
        frames_out) both; None for a model without advection.
    noise
        What makes the members of an ensemble differ, shape (b, y, x, members * channels); None
        for a model without noise.
    """

    inputs: tf.Tensor
    valid_inputs: tf.Tensor
    target: tf.Tensor
    weight: tf.Tensor
    moved: tf.Tensor | None = None
    valid_moved: tf.Tensor | None = None
    noise: tf.Tensor | None = None

    @property
    def members(self) -> int:
        """How often each sample is given to the model, with other noise every time."""
        return 1 if self.noise is None else TRAINING_MEMBERS

    @property
    def seen(self) -> list[tf.Tensor]:
        """What the model is given: all samples, once for each member."""
        seen = [self.inputs, self.valid_inputs]
        if self.moved is not None:
            seen += [self.moved, self.valid_moved]
        if self.noise is None:
            return seen
        noise = tf.concat(tf.split(self.noise, self.members, -1), 0)
        return [*(tf.tile(one, [self.members, 1, 1, 1]) for one in seen), noise]


class WindowReader(Generic[Index]):
    """Reads whole windows of stored codes.

    Parameters
    ----------
    index
        Where the windows lie.
    frames
        Reads their frames.
    """

    def __init__(self, index: Index, frames: CodeReader) -> None:
        self.index: Index = index
        self._frames = frames

    def read(self, window: int) -> Codes:
        """Codes of one window, shape (t, y, x)."""
        pieces = [
            self._frames.read_codes(piece.file, piece.start, piece.stop)
            for piece in self.index.pieces(window)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def window_weights(index: Windows, wet_bias: float) -> NDArray[np.float64]:
    """How often each window is drawn, relative to a dry one of the largest frames.

    A sample is a square of some size, so the more of them a frame holds, the more often it is
    drawn: then every pixel of all archives is seen as often.
    """
    wet = 1.0 + wet_bias * np.minimum(index.wet_fraction.astype(np.float64) / WIDESPREAD, 1.0)
    return wet * (index.frame_pixels / max(index.frame_pixels, default=1))


def cut_sample(
    codes: Codes,
    generator: np.random.Generator,
    crop: int | None,
    flips: bool,
    is_wet: IsWet,
    take: Take,
) -> Codes:
    """Crop and flip one window at random.

    Of a few random places the crop is taken with a chance proportional to its rain, because a
    uniform choice spends most of the work on dry squares.

    Parameters
    ----------
    codes
        Stored window, shape (t, y, x).
    generator
        Seeded by the sample alone, so that any rank cuts the same sample alike.
    crop
        Side of the square, or None for the whole frame; a smaller frame is padded by `pad_codes`.
    flips
        Whether to mirror and transpose.
    is_wet
        Tells which codes are rain.
    take
        Takes a part of the window.
    """
    part = None if crop is None else _choose_crop(codes, generator, crop, is_wet)
    codes = take(codes, part)
    if flips:
        turn = int(generator.integers(8 if codes.shape[1] == codes.shape[2] else 4))
        codes = turn_frames(codes, turn)
    return codes


def turn_frames(codes: Codes, turn: int) -> Codes:
    """Frames in one of eight positions: 1 mirrors rows, 2 columns, 4 exchanges both after that."""
    cv2 = find_opencv()
    if cv2 is None:
        codes = codes[:, :: -1 if turn & 1 else 1, :: -1 if turn & 2 else 1]
        return codes.swapaxes(1, 2) if turn & 4 else codes
    # NumPy takes several times as long to copy lines backwards or across, but none to take them in
    # another order.
    frames, rows, columns = codes.shape
    if turn & 4:
        lines = codes[:, :: -1 if turn & 1 else 1].reshape(-1, columns)
        across = cv2.transpose(lines).reshape(columns, frames, rows).swapaxes(0, 1)
        return across[:, :: -1 if turn & 2 else 1]
    lines = codes.reshape(-1, columns)
    lines = cv2.flip(lines, 1) if turn & 2 else lines
    return lines.reshape(codes.shape)[:, :: -1 if turn & 1 else 1]


def _choose_crop(codes: Codes, generator: np.random.Generator, crop: int, is_wet: IsWet) -> Part:
    rows, columns = codes.shape[1:]
    tops = generator.integers(max(rows - crop, 0) + 1, size=CROP_CANDIDATES)
    lefts = generator.integers(max(columns - crop, 0) + 1, size=CROP_CANDIDATES)
    parts = [
        (slice(top, min(top + crop, rows)), slice(left, min(left + crop, columns)))
        for top, left in zip(tops.tolist(), lefts.tolist(), strict=True)
    ]
    # Every sixth frame and eighth row and column are enough to tell wet from dry.
    looks = [take_part(codes, part)[::6, ::8, ::8] for part in parts]
    wet = (np.count_nonzero(is_wet(look)) / look.size for look in looks)
    chances = itertools.accumulate(min(share, WIDESPREAD) + 0.02 for share in wet)
    return parts[_drawn(list(chances), generator)]


def _drawn(chances: list[float], generator: np.random.Generator) -> int:
    """One of some numbers whose chances, added up to each of them, are given."""
    # Generator.choice takes five times as long for so few.
    return min(bisect(chances, generator.random() * chances[-1]), len(chances) - 1)


def pad_codes(codes: Codes, height: int, width: int, fill: int) -> Codes:
    """Extend the last two axes to a size with missing pixels."""
    missing = [(0, 0)] * (codes.ndim - 2)
    missing += [(0, height - codes.shape[-2]), (0, width - codes.shape[-1])]
    return np.pad(codes, missing, constant_values=fill) if any(map(any, missing)) else codes


def padded_shape(shape: tuple[int, int], multiple: int) -> tuple[int, int]:
    """Smallest shape that holds another and is a multiple on both sides."""
    return round_up(shape[0], multiple), round_up(shape[1], multiple)


def round_up(size: int, multiple: int) -> int:
    """Smallest multiple that is not below the size."""
    return -(-size // multiple) * multiple


class BatchDecoder:
    """The first operation of a step: a `StoredBatch` to a `Batch`.

    Parameters
    ----------
    packing, scaling
        How codes are decoded and scaled.
    frames_in, frames_out
        How the frames of a window are divided.
    advection
        Whether there are moved frames between them.
    noise
        Channels of noise of each member; its codes are behind them.
    """

    def __init__(
        self,
        packing: Packing,
        scaling: Scaling,
        frames_in: int,
        frames_out: int,
        advection: bool = False,
        noise: int = 0,
    ) -> None:
        self._decode = Decoder(packing, scaling)
        self._split = [frames_in, frames_out if advection else 0, frames_out]
        self._noise = noise_table(packing.dtype) if noise else None

    def __call__(self, stored: StoredBatch) -> Batch:
        """Decode; frames come last in the batch."""
        ends = list(itertools.accumulate(self._split))
        seen, moved, wanted = (
            self._frames(stored, slice(end - count, end)) if count else (None, None)
            for end, count in zip(ends, self._split, strict=True)
        )
        valid_inputs = tf.reduce_min(seen[1], -1, keepdims=True)
        batch = Batch(seen[0], valid_inputs, *wanted, *moved)
        if self._noise is not None:
            noise = look_up(self._noise, stored.codes[:, ends[-1] :])
            batch = batch._replace(noise=tf.transpose(noise, CHANNELS_LAST))
        return batch

    def _frames(self, stored: StoredBatch, part: slice) -> tuple[tf.Tensor, tf.Tensor]:
        return self._decode(stored.codes[:, part], stored.intensity, CHANNELS_LAST)


class CodeBatches:
    """Turns windows into batches as they are stored.

    Parameters
    ----------
    section
        Sizes and augmentation.
    packing
        How codes are stored.
    grid_shape
        Rows and columns of a whole frame.
    wet_threshold
        Weakest value that counts as rain.
    multiple
        Frame sides are padded to a multiple of this, with missing pixels.
    advection
        Whether the newest frame, moved on to each lead time, follows those that are seen.
    noise
        Channels of noise of each of `TRAINING_MEMBERS`, behind all frames.
    """

    def __init__(
        self,
        section: DataSection,
        packing: Packing,
        grid_shape: tuple[int, int],
        wet_threshold: float,
        multiple: int,
        advection: bool = False,
        noise: int = 0,
    ) -> None:
        self._section = section
        self._noise = TRAINING_MEMBERS * noise
        self._frames = section.frames_in + (1 + advection) * section.frames_out + self._noise
        self._move: CodeExtrapolation | None = None
        if advection:
            self._move = CodeExtrapolation(
                packing, wet_threshold, section.frames_in, section.frames_out
            )
        self._packing = packing
        self._augment = Augmentation(section, packing)
        # A missing pixel is not wet: no comparison with NaN is true.
        self._weakest = int(np.argmax(np.append(packing.table() >= wet_threshold, True)))
        self._frame_shape = padded_shape(grid_shape, multiple)
        crop = section.crop
        self._sample_shape = padded_shape((crop, crop), multiple) if crop else self._frame_shape

    def training(
        self,
        reader: WindowReader[Any],
        seed: int,
        global_batch: int,
        part: slice,
        steps: range,
    ) -> Iterator[StoredBatch]:
        """Batches of the given steps, cropped and flipped.

        Parameters
        ----------
        reader
            Where the windows come from.
        seed, global_batch
            Decide the samples of each step.
        part
            This rank's part of the global batch; it may be empty.
        steps
            Steps still to do; a resume starts at the step it stopped at.
        """
        size = len(range(global_batch)[part])
        if not size:
            return self._empty_batches(len(steps))

        def samples() -> Iterator[StoredBatch]:
            order = self._order(reader.index, seed)
            for step in steps:
                windows = order.batch(global_batch, step)[part]
                numbers = np.arange(step * global_batch, (step + 1) * global_batch)[part]
                for window, number in zip(windows, numbers, strict=True):
                    take = self._taker(reader, int(window))
                    yield self._training_sample(reader.read(int(window)), take, seed, int(number))

        return read_ahead(samples, size)

    def evaluation(
        self, reader: WindowReader[Any], windows: Sequence[int], batch: int
    ) -> Iterator[StoredBatch]:
        """Batches of whole frames in the given order."""

        def samples() -> Iterator[StoredBatch]:
            for window in windows:
                codes = self._taker(reader, int(window))(reader.read(int(window)), None)
                generator = np.random.default_rng((2, window))
                codes = self._complete(codes, self._frame_shape, generator)
                yield StoredBatch(codes, np.float32(1))

        return read_ahead(samples, batch)

    def windows(
        self, reader: WindowReader[Any], seed: int, global_batch: int, part: slice, step: int
    ) -> list[int]:
        """Windows that this rank takes in one step, for messages."""
        return self._order(reader.index, seed).batch(global_batch, step)[part].tolist()

    def _order(self, index: Windows, seed: int) -> SampleOrder:
        weights = window_weights(index, self._section.wet_bias)
        return SampleOrder(weights, seed, index.shards(), self._section.locality)

    def _taker(self, reader: WindowReader[Any], window: int) -> Take:
        if self._move is None:
            return take_part
        # Its first frame tells a window from those of other splits.
        return partial(self._move, window=reader.index.pieces(window)[0])

    def _training_sample(self, codes: Codes, take: Take, seed: int, number: int) -> StoredBatch:
        generator = np.random.default_rng((seed, 1, number))
        side, flips = self._augment.side(generator), self._section.flips
        sample = cut_sample(codes, generator, side, flips, self._is_wet, take)
        sample = self._augment.to_crop(sample, side)
        intensity = np.float32(self._augment.intensity(generator))
        return StoredBatch(self._complete(sample, self._sample_shape, generator), intensity)

    def _is_wet(self, codes: Codes) -> NDArray[np.bool_]:
        # Values rise with their codes. A look-up of each would take twice the time.
        return (codes >= self._weakest) & (codes != self._packing.fill)

    def _complete(
        self, codes: Codes, shape: tuple[int, int], generator: np.random.Generator
    ) -> Codes:
        """Frames padded to a shape, and noise behind them."""
        codes = pad_codes(codes, *shape, self._packing.fill)
        if not self._noise:
            return codes
        noise = correlated_noise(generator, self._noise, shape)
        return np.concatenate([codes, noise_codes(noise, self._packing.dtype)])

    def _empty_batches(self, count: int) -> Iterator[StoredBatch]:
        codes = tf.zeros((0, self._frames, *self._sample_shape), self._packing.dtype)
        return itertools.repeat(StoredBatch(codes, tf.zeros(0)), count)
