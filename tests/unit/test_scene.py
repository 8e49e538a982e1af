"""Scenes: reading what users have, dividing labels by place, and windows of the stored file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from hvd_nowcast.cli import program
from hvd_nowcast.errors import ConfigError, InputError, OutputError, ShardError
from hvd_nowcast.shards.check import check_shards
from hvd_nowcast.shards.convert import list_files
from hvd_nowcast.shards.convert.scene import open_scene
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.scene import SceneManifest, SceneReader, square
from hvd_nowcast.shards.scene_build import build_scene
from hvd_nowcast.shards.scene_split import divide_groups, split_by_place
from hvd_nowcast.shards.split import parse_split
from tests.unit.made_scene import CLASSES, COLUMNS, ROWS, Edit, make_scene, write_scene_file

SPLIT = parse_split("train=0.6,validation=0.2,test=0.2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("scene")
    build_scene(open_scene([write_scene_file(place / "scene.nc")]), place / "shards", SPLIT)
    return place / "shards"


def test_a_scene_comes_back_as_it_was(folder: Path) -> None:
    optical, height, labels = make_scene()
    reader = SceneReader(folder)
    assert reader.manifest.modalities == {"optical": 3, "elevation": 1}
    assert reader.manifest.classes == CLASSES
    window = reader.window("optical", 0, 0, ROWS)
    np.testing.assert_allclose(window[:, :COLUMNS, 0], optical[0], rtol=1e-6)
    assert np.isnan(window[:, COLUMNS:]).all()
    np.testing.assert_array_equal(reader.labels, labels)
    assert reader.grid.projection["spatial_ref"] == "EPSG:32633"
    reader.close()
    assert all(result.ok for result in check_shards(folder))


def test_windows_beyond_the_scene_are_missing(folder: Path) -> None:
    reader = SceneReader(folder)
    whole = reader.window("elevation", 0, 0, ROWS)[..., 0]
    window = reader.window("elevation", -3, 70, 12)[..., 0]
    np.testing.assert_array_equal(window[3:, :10], whole[:9, 70:80])
    assert np.isnan(window[:3]).all()
    assert np.isnan(window[:, 10:]).all()
    assert np.isnan(reader.window("elevation", 500, 500, 4)).all()
    labels = square(reader.labels, -3, 70, 12)
    np.testing.assert_array_equal(labels[3:, :10], reader.labels[:9, 70:80])
    assert not labels[:3].any()
    reader.close()


def test_no_block_is_in_two_splits_and_every_class_in_all(folder: Path) -> None:
    reader = SceneReader(folder)
    blocks = reader.split.reshape(ROWS // 16, 16, COLUMNS // 16, 16).transpose(0, 2, 1, 3)
    for block in blocks.reshape(-1, 256):
        assert len(set(block.tolist()) - {0}) <= 1
    pixels = np.array(list(reader.manifest.pixels.values()))
    assert (pixels > 0).all()
    np.testing.assert_allclose(pixels.sum(1) / pixels.sum(), [0.6, 0.2, 0.2], atol=0.08)
    # Labels of columns that no band saw, and rows without labels, belong to none.
    assert not reader.split[:, :5].any()
    assert not reader.split[:4].any()
    reader.close()


def test_polygons_of_a_sparse_map_stay_whole() -> None:
    pytest.importorskip("scipy")
    labels = np.zeros((60, 60), np.uint8)
    for number in range(12):
        row, column = divmod(number, 4)
        labels[20 * row : 20 * row + 6, 15 * column : 15 * column + 9] = 1 + number % 2
    split = split_by_place(labels, SPLIT)
    for number in range(12):
        row, column = divmod(number, 4)
        part = split[20 * row : 20 * row + 6, 15 * column : 15 * column + 9]
        assert len(np.unique(part)) == 1
        assert part.all()
    assert set(np.unique(split)) == {0, 1, 2, 3}


def test_groups_get_their_shares_and_what_is_left_is_not_used() -> None:
    counts = np.random.default_rng(0).integers(0, 50, (200, 4))
    chosen = divide_groups(counts, np.array([0.5, 0.1, 0.2]), 0)
    shares = np.stack([counts[chosen == split].sum(0) for split in (0, 1, 2, 3)]) / counts.sum(0)
    np.testing.assert_allclose(shares, np.repeat([[0.2], [0.5], [0.1], [0.2]], 4, 1), atol=0.02)


def test_dates_do_not_divide_a_scene() -> None:
    with pytest.raises(ConfigError, match="a scene has no dates"):
        split_by_place(np.ones((4, 4), np.uint8), parse_split("train=2018-05-10:2018-05-15"))


def test_geotiff_and_arrays_are_modalities_by_their_names(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    optical, height, labels = make_scene()
    settings: dict[str, Any] = {"driver": "GTiff", "height": ROWS, "width": COLUMNS, "count": 1}
    settings["transform"] = rasterio.Affine(30.0, 0.0, 4e5, 0.0, -30.0, 5e6)
    for number, band in enumerate(optical, 1):
        path = tmp_path / f"landsat_{number}0.tif"
        filled = np.where(np.isnan(band), 0, band).astype(np.uint8)
        with rasterio.open(
            path, "w", dtype="uint8", nodata=0, crs="EPSG:32633", **settings
        ) as image:
            image.write(filled, 1)
    np.save(tmp_path / "DEM.npy", height[..., None].astype(np.float32))
    np.save(tmp_path / "LULC.npy", labels[..., None])
    scene = open_scene(sorted(tmp_path.iterdir()))
    assert {name: len(v) for name, v in scene.modalities.items()} == {"dem": 1, "landsat": 3}
    assert np.isnan(scene.modalities["landsat"][:, :, :5]).all()
    np.testing.assert_array_equal(scene.labels, labels)
    assert (scene.grid.x[0], scene.grid.y[0]) == (4e5 + 15, 5e6 - 15)
    assert "32633" in scene.grid.projection["spatial_ref"]
    assert scene.classes == ("class1", "class2", "class3")


def test_rows_that_run_northward_are_turned(tmp_path: Path) -> None:
    def turn(dataset: Any) -> None:
        dataset["y"][:] = dataset["y"][::-1]
        for name in ("optical", "elevation", "label"):
            dataset[name][:] = dataset[name][..., ::-1, :]

    turned = open_scene([write_scene_file(tmp_path / "a.nc", turn)])
    scene = open_scene([write_scene_file(tmp_path / "b.nc")])
    np.testing.assert_array_equal(turned.labels, scene.labels)
    np.testing.assert_array_equal(turned.modalities["optical"], scene.modalities["optical"])
    np.testing.assert_array_equal(turned.grid.y, scene.grid.y)


def test_clouds_are_missing(tmp_path: Path) -> None:
    def cloud(dataset: Any) -> None:
        valid = dataset.createVariable("valid", "u1", ("band", "y", "x"))
        valid[:] = 1
        valid[1, 10:20] = 0

    scene = open_scene([write_scene_file(tmp_path / "a.nc", cloud)])
    assert set(scene.modalities) == {"optical", "elevation"}
    assert np.isnan(scene.modalities["optical"][1, 10:20]).all()
    assert np.isfinite(scene.modalities["optical"][0, 10:20, 5:]).all()


def hide_bands(dataset: Any) -> None:
    for name in ("optical", "elevation"):
        dataset.renameVariable(name, f"label_{name}")


def lose_band(dataset: Any) -> None:
    dataset["optical"][:] = -1.0


def name_two(dataset: Any) -> None:
    dataset["label"].flag_meanings = "water meadow"


BAD: dict[str, tuple[Edit, str]] = {
    "no bands": (hide_bands, "there is no modality"),
    "all missing": (lose_band, "optical is missing everywhere"),
    "too few names": (name_two, "has class 3, but names only 2"),
    "no coordinate": (lambda d: d.renameVariable("x", "across"), "there is no coordinate x"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_scenes_are_one_clear_error(tmp_path: Path, name: str) -> None:
    edit, message = BAD[name]
    with pytest.raises(InputError, match=message):
        open_scene([write_scene_file(tmp_path / "scene.nc", edit)])


def test_a_scene_without_labels_cannot_be_learnt_from(tmp_path: Path) -> None:
    file = write_scene_file(tmp_path / "a.nc", lambda d: d["label"].__setitem__(slice(None), 0))
    with pytest.raises(InputError, match="no pixel of the image is labelled"):
        build_scene(open_scene([file]), tmp_path / "shards", SPLIT)
    assert not (tmp_path / "shards").exists()


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "bands.npy", np.ones((2, 8, 9), np.float32))
    np.save(tmp_path / "labels.npy", np.ones((8, 8), np.uint8))
    with pytest.raises(InputError, match="bands has 8 x 9 pixels, another field 8 x 8"):
        open_scene(sorted(tmp_path.iterdir()))
    (tmp_path / "bands.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match="not a readable array"):
        open_scene(sorted(tmp_path.iterdir()))
    copy = write_scene_file(tmp_path / "one.nc"), write_scene_file(tmp_path / "two.nc")
    with pytest.raises(InputError, match="second netCDF file"):
        open_scene(copy)


def test_a_damaged_or_foreign_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="not a readable manifest"):
        Manifest.load(folder)
    with pytest.raises(ShardError, match="there is no manifest"):
        SceneManifest.load(tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    content = bytearray((copy / "scene.nc").read_bytes())
    content[len(content) // 2] ^= 255
    (copy / "scene.nc").write_bytes(content)
    with pytest.raises(ShardError, match="checksum"):
        SceneReader(copy)
    assert [result.ok for result in check_shards(copy)] == [False]
    with pytest.raises(OutputError, match="already holds"):
        build_scene(open_scene([write_scene_file(tmp_path / "s.nc")]), copy, SPLIT)


def test_the_command_builds_and_counts(tmp_path: Path) -> None:
    file = write_scene_file(tmp_path / "scene.nc")
    arguments = ["shards", "build", "--format", "scene", str(file), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(program, arguments)
    assert done.exit_code == 0
    assert "meadow" in done.output
    assert "a scene with bands optical 3, elevation 1" in done.output


REAL = {
    "raleigh_landsat7.nc": {"vnir": 4, "swir": 2},
    "amazon_landsat5.nc": {"bands": 7, "elevation": 1},
    "slovenia_sentinel2.nc": {"ndvi": 68, "elevation": 1},
    "raw/raleigh": {"lsat7_2000": 6},
    "raw/landsat5_para": {"bands": 7, "elevation": 1},
    "raw/slovenia_eopatch": {"ndvi": 68, "dem": 1},
}


@pytest.mark.parametrize("name", REAL)
def test_real_scenes_are_read_in_both_forms(shared_data: Path, tmp_path: Path, name: str) -> None:
    if name.startswith("raw"):
        pytest.importorskip("rasterio")
    pytest.importorskip("scipy")
    scene = open_scene(list_files([shared_data / "landcover" / name]))
    manifest = build_scene(scene, tmp_path / "shards", SPLIT)
    assert manifest.modalities == REAL[name]
    pixels = np.array(list(manifest.pixels.values()))
    np.testing.assert_allclose(pixels.sum(1) / pixels.sum(), [0.6, 0.2, 0.2], atol=0.1)
    assert all(result.ok for result in check_shards(tmp_path / "shards"))


def test_both_forms_of_a_real_scene_are_one(shared_data: Path) -> None:
    pytest.importorskip("rasterio")
    folder = shared_data / "landcover"
    images = open_scene(list_files([folder / "raw/landsat5_para"]))
    converted = open_scene([folder / "amazon_landsat5.nc"])
    np.testing.assert_array_equal(images.labels, converted.labels)
    np.testing.assert_array_equal(images.modalities["bands"], converted.modalities["bands"])
    np.testing.assert_allclose(images.grid.x, converted.grid.x)
