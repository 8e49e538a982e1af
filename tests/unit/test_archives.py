"""Several archives as one: their frames in one form, and how often each is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvd_nowcast.config import DataSection, load_config
from hvd_nowcast.errors import ConfigError, ShardError
from hvd_nowcast.grid import Grid
from hvd_nowcast.loader.archives import Archive, common_packing, open_archives
from hvd_nowcast.loader.assignment import epoch_order
from hvd_nowcast.loader.pipeline import window_weights
from hvd_nowcast.parallel.communicator import SingleProcess
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.index import JointIndex, build_index
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.schema import RAIN_PACKING, Packing
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.shards.synthetic import synthetic_source
from hvd_nowcast.training.loop import TrainingRun
from hvd_nowcast.training.nowcast import open_nowcast
from hvd_nowcast.training.run_folder import RunFolder

TINY = Path(__file__).parents[2] / "configs/tiny.yaml"
COARSE = Packing("uint8", 2.0, 0.0, 255)
Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Builds a small archive: pixel size, time step, packing and split as wanted."""

    def one(name: str, split: str = "train=1", **about: Any) -> Path:
        frames, shape = about.get("frames", 24), about.get("shape", (40, 48))
        source = synthetic_source(
            frames, shape, about.get("seed", 0), disc=about.get("disc", False)
        )
        step = about.get("step", 300)
        side = about.get("spacing", 1000.0)
        rows, columns = shape
        grid = Grid((np.arange(columns) + 0.5) * side, (rows - np.arange(rows) - 0.5) * side)
        times = source.times[0] + np.arange(frames) * np.timedelta64(step, "s")
        packing = about.get("packing", RAIN_PACKING)
        source = replace(source, packing=packing, grid=grid, times=times)
        build_shards(source, tmp_path / name, parse_split(split), 10)
        return tmp_path / name

    return one


def values(archive: Archive, start: int, stop: int) -> Any:
    entry = archive.manifest.shards[0]
    codes = archive.frames.read_codes(entry.file, start, stop)
    assert codes.dtype == archive.manifest.packing.dtype
    assert codes.shape[1:] == archive.manifest.grid.shape
    return archive.manifest.packing.table()[codes]


def test_one_archive_is_read_as_it_is(build: Build) -> None:
    folder = build("one", disc=True, packing=COARSE)
    (archive,) = open_archives([folder])
    assert archive.manifest == Manifest.load(folder)


def test_archives_take_the_pixels_of_the_first_and_the_finest_packing(build: Build) -> None:
    first, wide = build("first"), build("wide", spacing=2000.0, seed=1)
    fine, rough = build("fine", spacing=500.0, seed=2), build("rough", packing=COARSE, seed=3)
    archives = open_archives([rough, first, wide, fine])
    assert {archive.manifest.packing for archive in archives} == {RAIN_PACKING}
    shapes = [archive.manifest.grid.shape for archive in archives]
    assert shapes == [(40, 48), (40, 48), (80, 96), (20, 24)]
    rain = [synthetic_source(24, (40, 48), seed).read(2) for seed in (3, 0, 1, 2)]
    found = [values(archive, 2, 3)[0] for archive in archives]
    np.testing.assert_allclose(found[0], rain[0], atol=1.01)
    np.testing.assert_allclose(found[1], rain[1], atol=0.006)
    assert found[2].mean() == pytest.approx(rain[2].mean(), rel=0.03)
    means = rain[3].reshape(20, 2, 24, 2).mean((1, 3))
    np.testing.assert_allclose(found[3], means, atol=0.02)


def test_a_frame_is_cut_down_to_where_there_is_data(build: Build) -> None:
    archives = open_archives([build("disc", disc=True), build("whole")])
    assert archives[0].manifest.grid.shape == (40, 40)
    whole = synthetic_source(24, (40, 48), 0, disc=True).read(5)
    np.testing.assert_allclose(values(archives[0], 5, 6)[0], whole[:, 4:44], atol=0.006)


def test_a_faster_archive_is_thinned_to_the_slowest(build: Build) -> None:
    slow, fast = open_archives([build("slow", step=600), build("fast", step=150, frames=50)])
    assert slow.manifest.step_seconds == fast.manifest.step_seconds == 600
    # Shards of 10 frames: the multiples of 10 minutes are frames 0, 4, 8 and 12 of the archive.
    assert [entry.frames for entry in fast.manifest.shards] == [3, 2, 3, 2, 3]
    source = synthetic_source(50, (40, 48), 0)
    np.testing.assert_allclose(values(fast, 1, 2)[0], source.read(4), atol=0.006)
    index = build_index(fast.manifest, "train", 6, 7)
    assert len(index) == 1
    assert index.start_time(0) == source.times[0] + np.timedelta64(3000, "s")


def test_archives_that_do_not_fit_are_named(build: Build) -> None:
    first, odd = build("first"), build("odd", step=420)
    with pytest.raises(ShardError, match="does not divide the 420 s of .*odd") as caught:
        open_archives([odd, first])
    assert "first" in str(caught.value)
    manifest = Manifest.load(odd)
    replace(manifest, quantity="vil", step_seconds=300).save(odd)
    with pytest.raises(ShardError, match=r"odd.*holds vil, but .*first holds rain_rate"):
        open_archives([first, odd])


def test_the_finest_packing_that_holds_the_range_is_taken() -> None:
    narrow, wide = Packing("uint16", 0.001, 0.0, 65535), Packing("uint16", 0.12, 0.0, 65535)
    assert common_packing([narrow, wide, RAIN_PACKING], "rain_rate") == RAIN_PACKING
    assert common_packing([narrow, narrow], "rain_rate") == narrow
    assert common_packing([narrow, COARSE], "rain_rate") == COARSE


def test_every_pixel_has_the_same_chance(build: Build) -> None:
    small, large = build("small", shape=(20, 24)), build("large", shape=(80, 96), frames=48)
    archives = open_archives([small, large])
    index = JointIndex([build_index(a.manifest, "train", 3, 2) for a in archives])
    weights = window_weights(index, 0.0)
    drawn = np.concatenate([epoch_order(weights, 0, e) for e in range(400)])
    each = np.bincount(drawn, minlength=len(index)) / len(drawn)
    assert [index.archive(window) for window in (0, 19, 20, 63)] == [0, 0, 1, 1]
    assert each[20:].mean() / each[:20].mean() == pytest.approx(16.0, rel=0.1)
    assert each.min() > 0
    assert index.pieces(20)[0].file == str(large / Manifest.load(large).shards[0].file)
    assert np.array_equal(index.shards(), np.sort(index.shards()))
    assert index.shards()[20] == len(archives[0].manifest.shards)


def test_the_order_of_one_archive_is_that_of_its_windows_alone(build: Build) -> None:
    index = build_index(Manifest.load(build("one", shape=(37, 53))), "train", 3, 2)
    wet = np.minimum(index.wet_fraction.astype(np.float64) / 0.2, 1.0)
    for weights in (window_weights(index, 9.0), window_weights(JointIndex([index]), 9.0)):
        np.testing.assert_array_equal(weights, 1.0 + 9.0 * wet)


def config_of(folders: list[Path], *settings: str) -> Any:
    shards = "data.shards=[" + ",".join(map(str, folders)) + "]"
    short = ["training.steps=4", "training.validate_every=2", "training.checkpoint_every=2"]
    return load_config(TINY, [shards, "data.synthetic=null", *short, *settings])


def test_a_run_on_several_archives(build: Build, tmp_path: Path) -> None:
    # The first has no validation, the second no training frames; the third is padded to the crop.
    folders = [
        build("a", frames=30),
        build("b", "validation=1", spacing=2000.0),
        build("c", "train=0.5,validation=0.5", shape=(24, 20), frames=40),
    ]
    config, run = config_of(folders, "training.validation_samples=9"), RunFolder(tmp_path / "run")
    run.start(config)
    task = open_nowcast(config, run)
    training = task.training_batches(slice(0, 4), range(2))
    assert [b.codes.shape for b in training] == [(4, 7, 32, 32)] * 2
    shapes = [b.codes.shape[2:] for b in task.validation_batches(0, 1)]
    assert shapes == [(80, 96), (80, 96), (24, 20)]
    together = [b.codes.numpy() for rank in range(3) for b in task.validation_batches(rank, 3)]
    sums = [float(codes.sum(dtype=np.float64)) for codes in together]
    assert sum(sums) == sum(
        float(b.codes.numpy().sum(dtype=np.float64)) for b in task.validation_batches(0, 1)
    )
    assert "frames" in task.describe_samples(slice(0, 4), 0)
    assert str(tmp_path) in task.describe_samples(slice(0, 4), 0)
    task.close()
    final = TrainingRun(config, run, SingleProcess()).run()
    assert np.isfinite(final["best_loss"])
    names = run.read_json("data.json")["shards"]
    assert {name.split("/")[0] for name in names} == {"0", "1", "2"}
    with pytest.raises(ShardError, match="not those the run was started with"):
        open_nowcast(config_of(folders[::-1]), run)


def test_a_split_that_no_archive_has(build: Build, tmp_path: Path) -> None:
    run, config = RunFolder(tmp_path / "run"), config_of([build("a"), build("b")])
    run.start(config)
    with pytest.raises(ShardError, match=r"validation split has .* other folders have none"):
        open_nowcast(config, run)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"shards": ("a", "a")}, "more than once"),
        ({"shards": ("a", "b"), "crop": None}, "needs data.crop"),
        ({"shards": ()}, "no name"),
        ({"shards": ("a", "")}, "no name"),
    ],
)
def test_wrong_lists_of_archives_are_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DataSection(**section)


def test_what_needs_one_archive_says_so() -> None:
    with pytest.raises(ConfigError, match="a region is of one archive, but data.shards names 2"):
        DataSection(shards=("a", "b")).only_folder("a region is of")
    assert DataSection(shards=("a",)).only_folder("a region is of") == "a"
