"""Shards and manifests on disk: what is written comes back, and lies are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvd_nowcast import cli
from hvd_nowcast.errors import ShardError
from hvd_nowcast.grid import Grid
from hvd_nowcast.shards import check
from hvd_nowcast.shards.check import check_shards
from hvd_nowcast.shards.convert import open_source
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.reader import ReaderPool, ShardReader
from hvd_nowcast.shards.schema import Packing, ShardHeader
from hvd_nowcast.shards.synthetic import synthetic_source
from hvd_nowcast.shards.writer import write_shard

PACKINGS = (Packing("uint8", 0.5, -32.0, 255), Packing("uint16", 0.12, 0.0, 65535))


@pytest.fixture
def folder(synthetic_shards: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(synthetic_shards, tmp_path / "shards"))


@given(st.sampled_from(PACKINGS), st.lists(st.integers(0, 254), min_size=1, max_size=20))
def test_codes_survive_decoding_and_encoding(packing: Packing, codes: list[int]) -> None:
    stored = np.array([*codes, packing.fill], packing.dtype)
    values = packing.table()[stored]
    assert np.isnan(values[-1])
    np.testing.assert_array_equal(packing.encode(values), stored)


@pytest.mark.parametrize("value", [-40.0, 95.5, 200.0])
def test_what_does_not_fit_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="does not fit uint8"):
        PACKINGS[0].encode(np.array([0.0, value]))


@pytest.mark.parametrize(("noise", "kind"), [(False, "blosc"), (True, "zlib")])
def test_noise_that_the_fast_form_cannot_hold_is_kept_in_the_plain_one(
    tmp_path: Path, noise: bool, kind: str
) -> None:
    if not netCDF4.__has_blosc_support__:
        pytest.skip("this netCDF library has no Blosc: all shards take the plain form")
    side = 1000.0 * np.arange(96)
    times = np.datetime64("2020-01-01", "s") + np.arange(2) * np.timedelta64(300, "s")
    header = ShardHeader(
        tmp_path / "a.nc",
        "rain_rate",
        PACKINGS[0],
        Grid(side, side[::-1]),
        times,
        np.zeros(2, np.int32),
        {},
    )
    frames = np.zeros((2, 96, 96), np.uint8)
    if noise:
        frames[1] = np.random.default_rng(0).integers(0, 256, (96, 96))
    write_shard(header, frames)
    with ShardReader(header.path) as reader:
        np.testing.assert_array_equal(reader.read_codes(0, 2), frames)
    with netCDF4.Dataset(header.path) as dataset:
        assert dataset["rain_rate"].filters()[kind]


def test_a_shard_comes_back_as_it_was_written(tmp_path: Path) -> None:
    grid = Grid(
        np.array([0.5, 1.5, 2.5]) * 1e3, np.array([9.5, 8.5]) * 1e3, {"proj4": "+proj=stere"}
    )
    times = np.datetime64("2020-02-29T23:55:00", "s") + np.arange(3) * np.timedelta64(300, "s")
    header = ShardHeader(
        tmp_path / "a.nc",
        "rain_rate",
        PACKINGS[1],
        grid,
        times,
        np.array([0, 0, 1], np.int32),
        {"title": "test", "zr_a": 200.0},
    )
    frames = np.random.default_rng(0).integers(0, 65536, (3, 2, 3)).astype(np.uint16)
    write_shard(header, frames)
    with ShardReader(header.path) as reader:
        back = reader.header
        np.testing.assert_array_equal(reader.read_codes(0, 3), frames)
        np.testing.assert_array_equal(reader.read_codes(1, 2), frames[1:2])
        with pytest.raises(ShardError, match="frames 2 to 4 wanted, but it holds 3"):
            reader.read_codes(2, 4)
    assert (back.quantity, back.packing, back.grid.digest) == (
        "rain_rate",
        PACKINGS[1],
        grid.digest,
    )
    np.testing.assert_array_equal(back.times, times)
    np.testing.assert_array_equal(back.sequence, header.sequence)
    assert back.attributes["zr_a"] == 200.0
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]


def test_our_shards_are_cf_files_too(synthetic_shards: Path) -> None:
    entry = Manifest.load(synthetic_shards).shards[0]
    source = open_source([synthetic_shards / entry.file])
    original = synthetic_source(120, shape=(40, 48), seed=2, disc=True)
    for frame in (0, 7, entry.frames - 1):
        np.testing.assert_allclose(source.read(frame), original.read(frame), atol=0.0051)
    np.testing.assert_array_equal(source.times, original.times[: entry.frames])


def test_the_manifest_comes_back(folder: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(folder)
    manifest.save(tmp_path)
    assert Manifest.load(tmp_path) == manifest
    assert {entry.split for entry in manifest.shards} == {"train", "validation", "test"}


@pytest.mark.parametrize("name", ["../x.nc", "/etc/passwd", "sub/x.nc"])
def test_a_manifest_cannot_lead_out_of_its_folder(folder: Path, name: str) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    content["shards"][0]["file"] = name
    path.write_text(json.dumps(content))
    with pytest.raises(ShardError, match="outside the folder"):
        Manifest.load(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    entry = Manifest.load(folder).shards[0]
    (folder / entry.file).rename(tmp_path / "elsewhere.nc")
    (folder / entry.file).symlink_to(tmp_path / "elsewhere.nc")
    with pytest.raises(ShardError, match="outside the folder"):
        Manifest.load(folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": 99, "quantity": "rain_rate"}'])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ShardError, match=r"manifest\.json"):
        Manifest.load(tmp_path)


def test_a_lying_header_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    path = tmp_path / "lie.nc"
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", 10**7), ("y", 20000), ("x", 20000)):
            file.createDimension(name, size)
        file.createVariable("rain_rate", "u2", ("time", "y", "x"), chunksizes=(1, 99, 99))
    with pytest.raises(ShardError, match="declares 10000000 frames"):
        ShardReader(path)


def test_the_pool_keeps_few_files_open(folder: Path) -> None:
    pool = ReaderPool(folder, limit=2)
    entries = Manifest.load(folder).shards
    for entry in (*entries, *entries):
        pool.read_codes(entry.file, 0, 1)
        assert len(pool._open) <= 2
    pool.close()
    assert not pool._open


def test_a_sound_folder_passes(folder: Path) -> None:
    results = check_shards(folder)
    assert len(results) == len(Manifest.load(folder).shards)
    assert all(result.ok for result in results)


def spoil(folder: Path, how: str) -> str:
    """Damage the second shard and return its name."""
    entries = Manifest.load(folder).shards
    path = folder / entries[1].file
    content = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    elif how == "swapped":
        shutil.copy(folder / entries[0].file, path)
    else:
        path.unlink()
    return path.name


@pytest.mark.parametrize("how", ["truncated", "flipped", "swapped", "missing"])
def test_damage_is_found_and_quarantined(folder: Path, how: str) -> None:
    bad = spoil(folder, how)
    results = check_shards(folder, quarantine=True)
    assert [result.file for result in results if not result.ok] == [bad]
    assert bad not in {entry.file for entry in Manifest.load(folder).shards}
    assert (folder / "quarantine" / bad).exists() == (how != "missing")
    assert all(result.ok for result in check_shards(folder))


def test_damage_under_a_right_checksum_is_found_by_reading(folder: Path) -> None:
    bad = spoil(folder, "swapped")
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    for name in ("bytes", "sha256"):
        content["shards"][1][name] = content["shards"][0][name]
    path.write_text(json.dumps(content))
    (problem,) = (result.problem for result in check_shards(folder) if result.file == bad)
    assert "its times are not those of the manifest" in str(problem)


def test_a_crash_of_the_reading_process_is_one_bad_shard(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = [sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"]
    run = subprocess.run
    monkeypatch.setattr(check.subprocess, "run", lambda _, **options: run(crash, **options))
    results = check_shards(folder)
    assert {result.problem for result in results} == {"reading it crashes the library (signal 11)"}


def test_the_command_prints_a_table_and_fails(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = spoil(folder, "truncated")
    with pytest.raises(SystemExit) as caught:
        cli.main(["shards", "check", str(folder)])
    assert caught.value.code == 3
    captured = capsys.readouterr()
    (line,) = (line for line in captured.out.splitlines() if bad in line)
    assert "BAD" in line
    assert captured.err.count("error:") == 1


def test_two_threads_never_read_at_the_same_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, most = 0, 0

    def read(self: ShardReader, start: int, stop: int) -> np.ndarray:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.02)
        inside -= 1
        return np.zeros(stop - start)

    monkeypatch.setattr(ShardReader, "read_codes", read)
    pool = ReaderPool(folder)
    file = Manifest.load(folder).shards[0].file
    threads = [threading.Thread(target=pool.read_codes, args=(file, 0, 1)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.close()
    assert most == 1
