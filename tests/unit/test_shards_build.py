"""Building: what a failed or killed build leaves, and where shards are cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvd_nowcast.errors import InputError, OutputError
from hvd_nowcast.shards.build import build_shards, plan_shards
from hvd_nowcast.shards.check import check_shards
from hvd_nowcast.shards.convert.source import FrameSource
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.output_folder import BUILDING
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.shards.synthetic import synthetic_source

SPLIT = parse_split("train=0.6,validation=0.2,test=0.2")
REPOSITORY = Path(__file__).parents[2]
BUILD = """
import sys
from hvd_nowcast.errors import HvdNowcastError
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.shards.synthetic import synthetic_source
try:
    build_shards(synthetic_source(2000, (96, 96), seed=1), sys.argv[1], parse_split("train=1"), 20)
except HvdNowcastError as problem:
    print(problem)
    sys.exit(problem.exit_status)
"""


def events(lengths: list[int]) -> FrameSource:
    """Events of the given lengths, one a day."""
    source = synthetic_source(sum(lengths), (4, 5))
    sequence = np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)
    minutes = np.concatenate([day * 1440 + 5 * np.arange(n) for day, n in enumerate(lengths)])
    times = np.datetime64("2020-01-01T00:00:00", "s") + minutes.astype("timedelta64[m]")
    return replace(source, times=times, sequence=sequence, event=True)


def failing_at(number: int) -> FrameSource:
    source = synthetic_source(60, (8, 9))

    def read(frame: int) -> Any:
        if frame == number:
            raise InputError(Path("radar.nc"), "frame is damaged", "Copy it again")
        return source.read(frame)

    return replace(source, read=read)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=12), st.integers(1, 30))
def test_a_shard_never_cuts_an_event(lengths: list[int], limit: int) -> None:
    source = events(lengths)
    plans = plan_shards(source, parse_split("train=0.5,validation=0.3,test=0.2"), limit)
    np.testing.assert_array_equal(
        np.concatenate([plan.frames for plan in plans]), np.arange(sum(lengths))
    )
    for plan in plans:
        numbers = source.sequence[plan.frames]
        assert all((numbers == n).sum() == lengths[n] for n in set(numbers))
        assert len(plan.frames) <= limit or len(set(numbers)) == 1
    assert len({plan.file for plan in plans}) == len(plans)


@given(st.integers(1, 40), st.integers(1, 15))
def test_frames_without_events_fill_their_shards(frames: int, limit: int) -> None:
    plans = plan_shards(synthetic_source(frames, (2, 2)), parse_split("train=1"), limit)
    assert [len(plan.frames) for plan in plans[:-1]] == [limit] * (len(plans) - 1)


def test_a_failed_build_takes_away_what_it_wrote(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="frame is damaged"):
        build_shards(failing_at(50), tmp_path / "new", SPLIT, 10)
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with pytest.raises(InputError):
        build_shards(failing_at(50), tmp_path / "old", SPLIT, 10)
    assert not list((tmp_path / "old").iterdir())


def test_a_file_of_the_user_stays_even_in_an_unfinished_folder(tmp_path: Path) -> None:
    (tmp_path / BUILDING).touch()
    (tmp_path / "20200101T000000_00000.nc").write_text("ours, of a killed build")
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(OutputError, match=r"already holds notes\.txt"):
        build_shards(synthetic_source(20, (4, 4)), tmp_path, SPLIT)
    assert (tmp_path / "notes.txt").read_text() == "precious"
    (tmp_path / "notes.txt").unlink()
    build_shards(synthetic_source(20, (4, 4)), tmp_path, SPLIT)
    assert "ours" not in {path.name for path in tmp_path.iterdir()}
    assert len(Manifest.load(tmp_path).shards) == 3


def build_in_child(out: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", BUILD, str(out)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE)


def test_a_killed_build_leaves_whole_files_and_a_rerun_finishes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with build_in_child(out) as child:
        deadline = time.monotonic() + 60
        while len(list(out.glob("*.nc"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    left = sorted(out.glob("*.nc"))
    assert 3 <= len(left) < 100
    assert not (out / "manifest.json").exists()
    assert (out / BUILDING).exists()
    for path in left:
        with netCDF4.Dataset(path) as file:
            assert np.isfinite(file["rain_rate"][19]).all()
    build_shards(synthetic_source(60, (8, 9)), out, SPLIT, 10)
    assert all(result.ok for result in check_shards(out))
    assert {path.name for path in out.iterdir()} == {
        "manifest.json",
        *(entry.file for entry in Manifest.load(out).shards),
    }


@pytest.mark.parametrize("size", ["16k", "400k"])
def test_a_really_full_disk(tmp_path: Path, size: str) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(tmp_path)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk")
    try:
        with build_in_child(tmp_path / "out") as child:
            message, _ = child.communicate(timeout=120)
        left = list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)
    assert child.returncode == 6
    assert "the disk is full: free some space or choose another folder" in message
    assert left == []
