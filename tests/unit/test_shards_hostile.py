"""Shards and manifests that lie, and files that may not be read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from hvd_nowcast.errors import InputError, ShardError
from hvd_nowcast.shards.check import check_shards
from hvd_nowcast.shards.convert import open_source
from hvd_nowcast.shards.manifest import Manifest, verify_bytes
from hvd_nowcast.shards.reader import ReaderPool, ShardReader
from hvd_nowcast.shards.schema import Packing
from tests.unit.test_convert_cf import write


@pytest.fixture
def folder(synthetic_shards: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(synthetic_shards, tmp_path / "shards"))


def shard(path: Path, **changes: Any) -> Path:
    """A tiny shard; each argument spoils one thing."""
    sizes = {"time": 2, "y": 3, "x": 4}
    with netCDF4.Dataset(path, "w") as file:
        for name, size in sizes.items():
            file.createDimension(name, size)
        file.createDimension("other", 5)
        for name in (*sizes, "sequence"):
            if name == changes.get("without"):
                continue
            dimension = "time" if name == "sequence" else name
            dimension = "other" if name == changes.get("elsewhere") else dimension
            variable = file.createVariable(name, "f8", (dimension,))
            variable[:] = np.nan if name == changes.get("unknown") else 1.0
        variable = file.createVariable(
            "rain_rate",
            changes.get("dtype", "u1"),
            changes.get("dimensions", ("time", "y", "x")),
            fill_value=changes.get("fill", 255),
        )
        packing = {"scale_factor": 0.5, "add_offset": 0.0} | changes.get("packing", {})
        variable.setncatts({name: value for name, value in packing.items() if value is not None})
    return path


BAD_SHARDS: dict[str, tuple[dict[str, Any], str]] = {
    "floats": ({"dtype": "f4"}, "uint8 or uint16"),
    "no time on it": ({"dimensions": ("other", "y", "x")}, "on \\(time, y, x\\)"),
    "no scale": ({"packing": {"scale_factor": None}}, "scale_factor"),
    "negative scale": ({"packing": {"scale_factor": -1.0}}, "impossible packing"),
    "infinite offset": ({"packing": {"add_offset": np.inf}}, "impossible packing"),
    "text scale": ({"packing": {"scale_factor": "much"}}, "header"),
    "no fill value": ({"fill": None}, "_FillValue"),
    "no sequence": ({"without": "sequence"}, "sequence"),
    "no time": ({"without": "time"}, "time"),
    "time of another length": ({"elsewhere": "time"}, "time is not a full coordinate"),
    "x of another length": ({"elsewhere": "x"}, "x is not a full coordinate"),
    "sequence of another length": ({"elsewhere": "sequence"}, "sequence is not on time"),
    "time unknown": ({"unknown": "time"}, "time is not a full coordinate"),
}


@pytest.mark.parametrize("row", BAD_SHARDS)
def test_a_shard_that_is_none_is_named(tmp_path: Path, row: str) -> None:
    changes, message = BAD_SHARDS[row]
    path = shard(tmp_path / "bad.nc", **changes)
    with pytest.raises(ShardError, match=message) as caught:
        ShardReader(path)
    assert str(caught.value).startswith(str(path))
    assert "hvd-nowcast shards check" in caught.value.remedy


def test_a_huge_chunk_is_refused_before_it_is_allocated(tmp_path: Path) -> None:
    path = tmp_path / "chunk.nc"
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", 40_000), ("y", 200), ("x", 200)):
            file.createDimension(name, size)
        file.createVariable(
            "rain_rate", "u1", ("time", "y", "x"), chunksizes=(30_000, 200, 200), zlib=True
        )
        # Enough bytes for the frames to be believed, were it not for the chunk.
        file.createVariable("time", "f8", ("time",))[:] = 1.0
    with pytest.raises(ShardError, match="declares 40000 frames"):
        ShardReader(path)


def test_frames_beyond_the_end_are_named(folder: Path) -> None:
    pool = ReaderPool(folder)
    entry = Manifest.load(folder).shards[0]
    with pytest.raises(ShardError, match=f"frames 0 to {entry.frames + 1} wanted"):
        pool.read_codes(entry.file, 0, entry.frames + 1)
    pool.close()


def test_a_pool_opens_its_files_again_in_a_forked_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = ReaderPool(folder)
    file = Manifest.load(folder).shards[0].file
    codes = pool.read_codes(file, 0, 3)
    before = pool._open[file]
    monkeypatch.setattr(os, "getpid", lambda: -1)
    np.testing.assert_array_equal(pool.read_codes(file, 0, 3), codes)
    assert pool._open[file] is not before
    before.close()
    pool.close()


FORK_WHILE_A_THREAD_READS = """
import os, threading
from hvd_nowcast.shards.hdf5_lock import hdf5_lock

held, done = threading.Event(), threading.Event()

def read():
    with hdf5_lock():
        held.set()
        done.wait()

thread = threading.Thread(target=read)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    os._exit(0 if hdf5_lock().acquire(timeout=5) else 1)
done.set()
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_does_not_wait_for_a_reader_of_its_parent() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK_WHILE_A_THREAD_READS]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


def edited(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


BAD_MANIFESTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "step": lambda m: m.update(step_seconds=0),
    "quantity": lambda m: m.update(quantity="snow"),
    "format": lambda m: m.update(format=99),
    "packing": lambda m: m["packing"].update(dtype="float32"),
    "scale": lambda m: m["packing"].update(scale=0.0),
    "fill": lambda m: m["packing"].update(fill=70000),
    "grid": lambda m: m["grid"].update(shape=[0, 5]),
    "split": lambda m: m["shards"][0].update(split="holdout"),
    "frames": lambda m: m["shards"][0].update(frames=10**9),
    "segment": lambda m: m["shards"][0]["segments"][0].update(start=5),
    "no segment": lambda m: m["shards"][0].update(segments=[]),
    "time": lambda m: m["shards"][0]["segments"][0].update(first_time="NaT"),
    "odd time": lambda m: m["shards"][0]["segments"][0].update(first_time="lunch"),
    "wet share": lambda m: m["shards"][0]["wet_fraction"].pop(),
    "type": lambda m: m["shards"][0].update(bytes="many"),
    "unknown key": lambda m: m.update(command="rm"),
    "missing key": lambda m: m.pop("grid"),
    "list": lambda m: m.update(shards={"file": 3}),
}


@pytest.mark.parametrize("row", BAD_MANIFESTS)
def test_a_manifest_that_lies_is_refused(folder: Path, row: str) -> None:
    edited(folder, BAD_MANIFESTS[row])
    with pytest.raises(ShardError, match=r"manifest\.json"):
        Manifest.load(folder)


def test_another_grid_under_a_right_checksum_is_found(folder: Path) -> None:
    edited(folder, lambda m: m["grid"].update(digest="0" * 16))
    results = check_shards(folder)
    assert all("its grid is" in str(result.problem) for result in results)


@contextmanager
def without_rights(path: Path) -> Iterator[None]:
    """Nobody may read the file, not even root, who becomes a nobody for a while."""
    path.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        path.chmod(0o644)


def test_an_input_without_permission_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "radar.nc")
    with (
        without_rights(path),
        pytest.raises(InputError, match="no permission to read it") as caught,
    ):
        open_source([path])
    assert str(caught.value).startswith(str(path))
    assert caught.value.exit_status == 3


def test_a_shard_without_permission_is_named(folder: Path) -> None:
    entry = Manifest.load(folder).shards[0]
    path = folder / entry.file
    with without_rights(path):
        with pytest.raises(ShardError, match=entry.file):
            verify_bytes(folder, entry)
        with pytest.raises(ShardError, match="no permission to read it"):
            ShardReader(path)


@pytest.mark.parametrize(
    "arguments",
    [
        ("float32", 1.0, 0.0, 0),
        ("uint8", 0.0, 0.0, 0),
        ("uint8", np.nan, 0.0, 0),
        ("uint8", 1.0, 0.0, 256),
    ],
)
def test_a_packing_that_cannot_be_decoded_is_refused(arguments: Any) -> None:
    with pytest.raises(ValueError, match="packing|does not fit"):
        Packing(*arguments)
