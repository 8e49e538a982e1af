"""Frames and flows in a scratch file: the same as without, however little room there is."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hvd_nowcast.config import DataSection
from hvd_nowcast.errors import ShardError
from hvd_nowcast.loader import motion, scratch
from hvd_nowcast.loader.archives import open_archives
from hvd_nowcast.loader.frame_cache import FrameCache
from hvd_nowcast.loader.motion import FlowCache, search_flow
from hvd_nowcast.loader.pipeline import CodeBatches, WindowReader
from hvd_nowcast.loader.scratch import ScratchFile, lies_in_memory
from hvd_nowcast.shards.index import build_index
from hvd_nowcast.shards.manifest import GridSummary, Manifest, ShardEntry
from hvd_nowcast.shards.reader import CodeReader, ReaderPool
from hvd_nowcast.shards.schema import RAIN_PACKING, Codes

SHAPE = (32, 48)
FRAME_BYTES = 32 * 48 * 2


class CountingReader:
    """Frames that are told apart by their numbers, and how many were asked for."""

    def __init__(self, frames: int) -> None:
        self.frames, self.read = frames, 0

    def read_codes(self, file: str, start: int, stop: int) -> Codes:
        if stop > self.frames:
            raise ShardError(Path(file), f"holds {self.frames} frames", "Build it again")
        self.read += stop - start
        pixels = np.arange(32 * 48, dtype=np.uint16).reshape(SHAPE)
        return np.stack([pixels + 7 * frame + len(file) for frame in range(start, stop)])


def manifest_of(frames: int) -> Manifest:
    entries = tuple(
        ShardEntry(file, 1, "0" * 64, "train", frames, (), (0.0,) * frames) for file in ("a", "bb")
    )
    return Manifest("rain_rate", 300, GridSummary("0", SHAPE, 1000.0), RAIN_PACKING, entries, {})


def read_at_random(cache: CodeReader, frames: int, seed: int = 0, windows: int = 60) -> None:
    generator, plain = np.random.default_rng(seed), CountingReader(frames)
    for start in generator.integers(frames - 5, size=windows).tolist():
        file = ("a", "bb")[start % 2]
        expected = plain.read_codes(file, start, start + 5)
        found = cache.read_codes(file, start, start + 5)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def full_disk(*_: object, **__: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_frame_is_decompressed_once() -> None:
    reader = CountingReader(40)
    cache = FrameCache(reader, manifest_of(40))
    assert cache.read_codes("a", 3, 6)[:, 0, 1].tolist() == [23, 30, 37]
    cache.read_codes("a", 1, 9)
    assert reader.read == 8
    read_at_random(cache, 40)
    for file in ("a", "bb", "a"):
        cache.read_codes(file, 0, 40)
    assert reader.read == 80


def test_frames_that_follow_each_other_are_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FrameCache(CountingReader(40), manifest_of(40))
    cache.read_codes("a", 0, 20)
    sizes: list[int] = []
    read = ScratchFile.read
    monkeypatch.setattr(
        ScratchFile, "read", lambda file, *what: sizes.append(what[1][0]) or read(file, *what)
    )
    cache.read_codes("a", 2, 20)
    assert sizes == [18]


@pytest.mark.parametrize(("in_memory", "most"), [(False, 32), (True, 2)])
def test_no_more_than_the_limit_is_kept(
    in_memory: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "lies_in_memory", lambda _: in_memory)
    reader = CountingReader(40)
    cache = FrameCache(reader, manifest_of(40), 32 * FRAME_BYTES)
    for _ in range(2):
        for start in range(40):
            cache.read_codes("a", start, start + 1)
    assert reader.read == 40 + (40 - most)
    read_at_random(cache, 40)


@pytest.mark.parametrize("write", [full_disk, lambda *_: 5])
def test_a_full_disk_is_no_error(
    monkeypatch: pytest.MonkeyPatch, write: Callable[..., int]
) -> None:
    reader = CountingReader(40)
    cache = FrameCache(reader, manifest_of(40))
    cache.read_codes("a", 0, 8)
    monkeypatch.setattr(os, "pwrite", write)
    read_at_random(cache, 40)
    before = reader.read
    cache.read_codes("a", 0, 8)
    assert reader.read == before
    cache.read_codes("bb", 0, 8)
    assert reader.read == before + 8


def test_no_folder_for_it_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", full_disk)
    read_at_random(FrameCache(CountingReader(40), manifest_of(40)), 40)


def test_a_file_that_cannot_be_read_back_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FrameCache(CountingReader(40), manifest_of(40))
    read_at_random(cache, 40)
    monkeypatch.setattr(mmap, "mmap", full_disk)
    read_at_random(cache, 40)


def test_a_forked_process_keeps_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    file, array = ScratchFile(1 << 20), np.arange(5)
    assert file.keep(array) == 0
    np.testing.assert_array_equal(file.read(0, (5,), array.dtype), array)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert file.keep(array) is None
    assert file.read(0, (5,), array.dtype) is None


def test_nothing_lies_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cache = FrameCache(CountingReader(40), manifest_of(40))
    cache.read_codes("a", 0, 8)
    assert not list(tmp_path.iterdir())


def test_three_quarters_of_the_free_space_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    free = 1000
    monkeypatch.setattr(os, "fstatvfs", lambda _: SimpleNamespace(f_bavail=free, f_frsize=1))
    file = ScratchFile(1 << 20)
    assert file.keep(np.zeros(200, np.uint8)) == 0
    # Another rank took 100.
    free -= 300
    assert file.keep(np.zeros(51, np.uint8)) is None
    free += 100
    assert file.keep(np.zeros(50, np.uint8)) == 200


def test_a_folder_in_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path.stat().st_dev
    line = f"36 35 {os.major(device)}:{os.minor(device)} / /x rw,noatime shared:1 - KIND none rw\n"
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(scratch, "MOUNTS", mounts)
    assert lies_in_memory(str(tmp_path))
    for kind, expected in (("ext4", False), ("tmpfs", True)):
        mounts.write_text(line.replace("KIND", kind))
        assert lies_in_memory(str(tmp_path)) is expected
    mounts.write_text("36 35 999999:0 / /x rw - ext4 none rw\n")
    assert lies_in_memory(str(tmp_path))


def test_memory_does_not_grow_with_the_archive() -> None:
    def peak(frames: int) -> int:
        cache = FrameCache(CountingReader(frames), manifest_of(frames))
        tracemalloc.start()
        for start in range(0, frames, 5):
            cache.read_codes("a", start, start + 5)
            cache.read_codes("a", start, start + 5)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(1000) < 1.1 * peak(100)


def test_two_threads_read_the_same() -> None:
    cache = FrameCache(CountingReader(400), manifest_of(400))
    problems: list[BaseException] = []

    def read(seed: int) -> None:
        try:
            read_at_random(cache, 400, seed, 200)
        except AssertionError as problem:
            problems.append(problem)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_what_is_not_there_is_the_readers_to_say(synthetic_shards: Path) -> None:
    (archive,) = open_archives([synthetic_shards])
    entry = archive.manifest.shards[0]
    archive.frames.read_codes(entry.file, 0, entry.frames)
    with pytest.raises(ShardError, match=f"but it holds {entry.frames}"):
        archive.frames.read_codes(entry.file, 0, entry.frames + 1)
    assert len(archive.frames.read_codes(entry.file, 3, 3)) == 0
    archive.close()


def test_frames_of_another_shape_are_named() -> None:
    manifest = manifest_of(40)
    odd = replace(manifest, grid=GridSummary("0", (8, 8), 1.0))
    with pytest.raises(ShardError, match=r"bb: holds uint16 frames of \(32, 48\), but"):
        FrameCache(CountingReader(40), odd).read_codes("bb", 0, 1)


def test_batches_are_the_same_as_without(synthetic_shards: Path) -> None:
    """Two epochs, so that most frames and flows come from the scratch files."""
    pytest.importorskip("cv2", reason="OpenCV is not installed: launch/setup.sh brings it")
    manifest = Manifest.load(synthetic_shards)
    index = build_index(manifest, "train", 4, 3)
    section = DataSection(shards="none", frames_in=4, frames_out=3, crop=24)
    (archive,) = open_archives([synthetic_shards])
    pool = ReaderPool(synthetic_shards)

    def batches(frames: CodeReader) -> list[Codes]:
        made = CodeBatches(section, manifest.packing, manifest.grid.shape, 0.1, 8, advection=True)
        steps = range(2 * len(index) // 6)
        training = made.training(WindowReader(index, frames), 0, 6, slice(0, 6), steps)
        return [batch.codes.numpy() for batch in training]

    np.testing.assert_array_equal(batches(archive.frames), batches(pool))
    archive.close()
    pool.close()


def test_the_flow_of_two_images_is_sought_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed: launch/setup.sh brings it")
    images = np.random.default_rng(0).integers(0, 255, (3, 40, 48), np.uint8)
    cache, sought = FlowCache(), []

    def search(before: motion.Image, after: motion.Image) -> motion.Floats:
        sought.append(after)
        return search_flow(before, after)

    monkeypatch.setattr(motion, "search_flow", search)
    for _ in range(2):
        for before, after in ((0, 1), (1, 2), (1, 0)):
            expected = search_flow(images[before], images[after])
            np.testing.assert_array_equal(cache(images[before], images[after]), expected)
    assert len(sought) == 3
