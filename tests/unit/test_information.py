from __future__ import annotations

import subprocess
import sys
import time
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

from hvd_nowcast import information
from hvd_nowcast.information import collect, collect_versions, git_state

Usage = namedtuple("Usage", "total used free")


def remark_of(name: str) -> object:
    (row,) = (row for row in collect() if row[1] == name)
    return row[3]


def test_every_row_has_section_name_value_and_remark() -> None:
    rows = collect()
    assert {len(row) for row in rows} == {4}
    assert {row[0] for row in rows} >= {"program", "library", "machine", "threads", "disk"}


def test_an_absent_package_comes_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def without_horovod(name: str) -> str:
        if name == "horovod":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(information.metadata, "version", without_horovod)
    assert "install the extra 'hpc'" in str(remark_of("horovod"))
    assert "horovod" not in collect_versions()


def test_little_space_is_remarked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(information.shutil, "disk_usage", lambda _: Usage(9, 8, 2**20))
    assert "nearly full" in str(remark_of("TMPDIR"))


def test_unset_threads_are_remarked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert "env.sh" in str(remark_of("OMP_NUM_THREADS"))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert remark_of("OMP_NUM_THREADS") == ""


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True
    )


def test_git_state_tells_clean_from_changed(tmp_path: Path) -> None:
    assert git_state(tmp_path) == {}
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("one\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    clean = git_state(tmp_path)
    assert len(clean["commit"]) == 40
    assert not clean["dirty"]
    (tmp_path / "a.txt").write_text("two\n")
    changed = git_state(tmp_path)
    assert changed["dirty"]
    assert "+two" in changed["diff"]


def test_versions_name_what_a_run_depends_on() -> None:
    assert {"hvd_nowcast", "python", "numpy", "keras", "netCDF4"} <= set(collect_versions())


@pytest.mark.parametrize("command", [["--help"], ["info"], ["shards", "check", "absent"]])
def test_light_commands_start_without_tensorflow(command: list[str]) -> None:
    script = (
        "import sys\n"
        "from hvd_nowcast.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'pysteps', 'matplotlib', 'h5py'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_answers_in_half_a_second() -> None:
    def seconds() -> float:
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "hvd_nowcast", "--help"], check=True, capture_output=True
        )
        return time.perf_counter() - started

    # The best of several, because other processes may share this machine.
    assert min(seconds() for _ in range(7)) < 0.5
