"""Scale and intensity of samples: what is drawn, and what becomes of the rain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvd_nowcast.config import DataSection
from hvd_nowcast.loader.augmentation import Augmentation
from hvd_nowcast.loader.pipeline import CodeBatches, WindowReader
from hvd_nowcast.shards.index import build_index
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.reader import ReaderPool
from hvd_nowcast.shards.schema import RAIN_PACKING

FILL = RAIN_PACKING.fill


def augmentation(**settings: Any) -> Augmentation:
    return Augmentation(DataSection(shards="a", crop=32, **settings), RAIN_PACKING)


def test_nothing_is_drawn_or_changed_when_it_is_off() -> None:
    generator, codes = np.random.default_rng(0), np.ones((2, 32, 32), np.uint16)
    off = augmentation()
    assert off.side(generator) == 32
    assert off.to_crop(codes, 32) is codes
    assert off.intensity(generator) == 1
    assert generator.random() == np.random.default_rng(0).random()


def test_squares_are_as_often_wider_as_narrower() -> None:
    generator, zooming = np.random.default_rng(0), augmentation(zoom=2.0)
    sides = np.array([zooming.side(generator) for _ in range(500)])
    assert 16 <= sides.min() < 18 and 60 < sides.max() <= 64
    assert np.median(sides) == pytest.approx(32, abs=3)


def test_a_wider_square_keeps_its_mean_and_its_missing_pixels() -> None:
    codes = np.full((3, 64, 50), 100, np.uint16)
    codes[:, :32] = 300
    codes[:, :, 40:] = FILL
    found = augmentation(zoom=2.0).to_crop(codes, 64)
    assert found.shape == (3, 32, 25) and found.dtype == np.uint16
    assert (found[:, :, 20:] == FILL).all()
    assert (found[:, :16, :20] == 300).all() and (found[:, 16:, :20] == 100).all()


def test_as_often_stronger_as_weaker() -> None:
    generator, stronger = np.random.default_rng(0), augmentation(intensity=3.0)
    factors = np.array([stronger.intensity(generator) for _ in range(500)])
    assert 1 / 3 <= min(factors) < 0.36 and 2.8 < max(factors) <= 3.0
    assert np.log(factors).mean() == pytest.approx(0.0, abs=0.1)


def test_ranks_and_resumes_see_the_same_augmented_samples(synthetic_shards: Path) -> None:
    manifest = Manifest.load(synthetic_shards)
    section = DataSection(
        shards=str(synthetic_shards), frames_in=3, frames_out=2, crop=16, zoom=1.5, intensity=2.0
    )
    reader = WindowReader(build_index(manifest, "train", 3, 2), ReaderPool(synthetic_shards))
    batches = CodeBatches(section, manifest.packing, manifest.grid.shape, 0.1, 16)
    whole = list(batches.training(reader, 7, 6, slice(0, 6), range(3)))
    assert {batch.codes.shape for batch in whole} == {(6, 5, 16, 16)}
    assert len(np.unique(whole[0].intensity)) == 6
    (last,) = batches.training(reader, 7, 6, slice(2, 5), range(2, 3))
    for found, expected in zip(last, whole[2], strict=True):
        np.testing.assert_array_equal(found, expected[2:5])
