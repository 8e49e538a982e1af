"""Batches against frames read and decoded by hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvd_nowcast.config import DataSection
from hvd_nowcast.loader import pipeline
from hvd_nowcast.loader.motion import take_part
from hvd_nowcast.loader.pipeline import (
    BatchDecoder,
    CodeBatches,
    WindowReader,
    cut_sample,
    pad_codes,
    round_up,
    turn_frames,
    window_weights,
)
from hvd_nowcast.loader.scaling import LogRainScaling
from hvd_nowcast.shards.index import build_index
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.reader import ReaderPool
from hvd_nowcast.shards.schema import Codes
from hvd_nowcast.shards.synthetic import synthetic_source

FRAMES_IN, FRAMES_OUT = 3, 2
SCALING = LogRainScaling(2.0)
FILL = 65535
WET = (np.arange(65536) > 0) & (np.arange(65536) != FILL)


def make(
    folder: Path, crop: int | None = None, flips: bool = False, noise: int = 0
) -> tuple[WindowReader, CodeBatches, BatchDecoder]:
    manifest = Manifest.load(folder)
    index = build_index(manifest, "train", FRAMES_IN, FRAMES_OUT)
    section = DataSection(
        shards=str(folder), frames_in=FRAMES_IN, frames_out=FRAMES_OUT, crop=crop, flips=flips
    )
    return (
        WindowReader(index, ReaderPool(folder)),
        CodeBatches(section, manifest.packing, manifest.grid.shape, 0.1, 16, noise=noise),
        BatchDecoder(manifest.packing, SCALING, FRAMES_IN, FRAMES_OUT, noise=noise),
    )


def test_evaluation_batches_are_the_source_frames(synthetic_shards: Path) -> None:
    reader, batches, decode = make(synthetic_shards)
    source = synthetic_source(120, shape=(40, 48), seed=2, disc=True)
    windows = [0, 29, 40]
    (stored,) = batches.evaluation(reader, windows, 4)
    batch = decode(stored)
    assert batch.inputs.shape == (3, 48, 48, FRAMES_IN)
    for number, window in enumerate(windows):
        frames = np.stack([source.read(window + i) for i in range(FRAMES_IN + FRAMES_OUT)], -1)
        scaled = np.nan_to_num(SCALING.forward(frames))
        target = batch.target.numpy()[number, :40]
        np.testing.assert_allclose(target, scaled[..., FRAMES_IN:], atol=0.03)
        valid = np.isfinite(frames)
        np.testing.assert_array_equal(
            batch.weight.numpy()[number, :40], valid[..., FRAMES_IN:].astype(np.float32)
        )
        np.testing.assert_array_equal(
            batch.valid_inputs.numpy()[number, :40, :, 0], valid[..., :FRAMES_IN].all(-1)
        )
    # Rows 40 to 48 were padded: missing, and no rain.
    assert not batch.weight.numpy()[:, 40:].any()
    assert not batch.inputs.numpy()[:, 40:].any()


@pytest.mark.parametrize("noise", [0, 1])
@pytest.mark.parametrize("shares", [(6,), (4, 2), (1, 5), (0, 6), (2, 2, 2)])
def test_ranks_together_see_the_batch_of_one_process(
    synthetic_shards: Path, shares: tuple[int, ...], noise: int
) -> None:
    reader, batches, _ = make(synthetic_shards, crop=16, flips=True, noise=noise)
    whole = [b.codes.numpy() for b in batches.training(reader, 7, 6, slice(0, 6), range(3))]
    parts = []
    for rank, share in enumerate(shares):
        part = slice(sum(shares[:rank]), sum(shares[:rank]) + share)
        if share:
            parts.append([b.codes.numpy() for b in batches.training(reader, 7, 6, part, range(3))])
    for step, expected in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([part[step] for part in parts]), expected)


def test_members_are_shown_the_same_frames_and_other_noise(synthetic_shards: Path) -> None:
    reader, batches, decode = make(synthetic_shards, crop=16, noise=3)
    (stored,) = batches.training(reader, 1, 2, slice(0, 2), range(1))
    plain_reader, plain, plain_decode = make(synthetic_shards, crop=16)
    (plain_stored,) = plain.training(plain_reader, 1, 2, slice(0, 2), range(1))
    batch, expected = decode(stored), plain_decode(plain_stored)
    np.testing.assert_array_equal(batch.target.numpy(), expected.target.numpy())
    frames, valid, noise = (one.numpy() for one in batch.seen)
    assert noise.shape == (4, 16, 16, 3)
    for member in (slice(0, 2), slice(2, 4)):
        np.testing.assert_array_equal(frames[member], expected.inputs.numpy())
        np.testing.assert_array_equal(valid[member], expected.valid_inputs.numpy())
    fields = noise.transpose(0, 3, 1, 2).reshape(12, -1)
    assert len(np.unique(fields[:, 0])) == 12


def test_a_resumed_stream_goes_on_where_it_stopped(synthetic_shards: Path) -> None:
    reader, batches, _ = make(synthetic_shards, crop=16, flips=True)
    whole = [b.codes.numpy() for b in batches.training(reader, 1, 4, slice(0, 4), range(40))]
    rest = [b.codes.numpy() for b in batches.training(reader, 1, 4, slice(0, 4), range(37, 40))]
    for expected, resumed in zip(whole[37:], rest, strict=True):
        np.testing.assert_array_equal(resumed, expected)


@pytest.mark.parametrize("turn", range(8))
def test_frames_are_turned_alike_with_and_without_opencv(
    turn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed: launch/setup.sh brings it")
    codes: Codes = np.arange(3 * 5 * 4, dtype=np.uint16).reshape(3, 5, 4)
    turned = turn_frames(codes, turn)
    corner = codes[:, -1 if turn & 1 else 0, -1 if turn & 2 else 0]
    np.testing.assert_array_equal(turned[:, 0, 0], corner)
    monkeypatch.setattr(pipeline, "find_opencv", lambda: None)
    np.testing.assert_array_equal(turn_frames(codes, turn), turned)


@given(st.integers(0, 200), st.booleans())
@settings(max_examples=30)
def test_a_cut_sample_is_a_turned_square_of_the_window(seed: int, flips: bool) -> None:
    codes: Codes = np.arange(2 * 20 * 30, dtype=np.uint16).reshape(2, 20, 30)
    sample = cut_sample(codes, np.random.default_rng(seed), 8, flips, WET.take, take_part)
    assert sample.shape == (2, 8, 8)
    corners = {int(sample[0, y, x]) for y in (0, -1) for x in (0, -1)}
    top, left = divmod(min(corners), 30)
    square = codes[:, top : top + 8, left : left + 8]
    assert set(sample.ravel()) == set(square.ravel())
    if not flips:
        np.testing.assert_array_equal(sample, square)


def test_wet_squares_are_cut_more_often() -> None:
    codes = np.zeros((5, 20, 200), np.uint16)
    codes[:, :, :40] = 50
    codes[:, :, 160:] = FILL  # No rain, though the largest code.
    cut = partial(cut_sample, crop=20, flips=False, is_wet=WET.take, take=take_part)
    wet = [(cut(codes, np.random.default_rng(seed)) == 50).mean() for seed in range(300)]
    # A uniform choice would give about a fifth.
    assert 0.35 < np.mean(wet) < 0.9


def test_a_frame_smaller_than_the_crop_is_padded_with_missing_pixels() -> None:
    codes = np.ones((2, 5, 6), np.uint8)
    padded = pad_codes(codes, 8, 8, 255)
    assert padded.shape == (2, 8, 8)
    assert (padded[:, :5, :6] == 1).all()
    assert (padded == 255).sum() == 2 * (64 - 30)
    assert pad_codes(codes, 5, 6, 255) is codes
    assert [round_up(size, 16) for size in (1, 16, 17)] == [16, 16, 32]


def test_wet_windows_weigh_more(synthetic_shards: Path) -> None:
    index = make(synthetic_shards)[0].index
    assert (window_weights(index, 0.0) == 1).all()
    assert window_weights(index, 20.0) == pytest.approx(
        1 + 20 * np.minimum(index.wet_fraction / 0.2, 1)
    )
