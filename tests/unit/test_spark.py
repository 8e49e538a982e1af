"""Spark jobs without Spark: plans, result files, what a task does, settings, and messages."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import netCDF4
import numpy as np
import pytest

from hvd_nowcast.cli import main
from hvd_nowcast.errors import (
    ConfigError,
    InputError,
    Interrupted,
    JobError,
    OutputError,
    ParallelError,
)
from hvd_nowcast.landcover.forecast import map_scene
from hvd_nowcast.landcover.predictor import LandcoverPredictor
from hvd_nowcast.nowcast.forecast import possible_starts
from hvd_nowcast.parallel import spark_launch
from hvd_nowcast.parallel.spark_launch import (
    Untagged,
    explain_failure,
    exported,
    require_trust,
)
from hvd_nowcast.shards.convert import open_source
from hvd_nowcast.spark import results, worker
from hvd_nowcast.spark.nowcast import ArchiveWork
from hvd_nowcast.spark.plan import (
    Plan,
    Request,
    forecast_names,
    left_to_do,
    tasks_for,
    tile_corners,
)
from hvd_nowcast.spark.predict import require_success
from hvd_nowcast.spark.session import (
    explain,
    is_local,
    local_slots,
    parse_settings,
    session_settings,
    worker_variables,
)
from hvd_nowcast.spark.work import open_work
from tests.unit.made_scene import make_untrained_run, write_wide_scene
from tests.unit.test_bad_input import write_radar
from tests.unit.test_forecast import Doubler, rising

PLAN = Plan("0.1.0", "w" * 64, {"/data/scene": "abc"}, ("tiles/a.npz", "tiles/b.npz"))
LOG = Path("/out/spark.log")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Larger than a tile of 512 both ways."""
    return write_wide_scene(tmp_path_factory.mktemp("wide") / "scene", 7)


@pytest.fixture(scope="module")
def run(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_untrained_run(tmp_path_factory.mktemp("runs") / "run", scene, (4,))


class Handle:
    """Stands for Spark's broadcast and for its counter."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def add(self, number: int) -> None:
        self.value += number


def make(run: Path, request: Request, out: Path, pieces: tuple[str, ...]) -> list[worker.Failure]:
    """What executors do, in this process."""
    out.mkdir(exist_ok=True)
    task = worker.Worker(Handle(worker.pack(run, request)), str(out), out, Handle(0))
    return list(task(pieces))


@pytest.mark.parametrize("shape", [(1, 1), (512, 512), (513, 1024), (1100, 700)])
def test_tiles_cover_a_scene_once(shape: tuple[int, int]) -> None:
    seen = np.zeros(shape, int)
    corners = tile_corners(shape, 512)
    for row, column in corners.values():
        seen[row : row + 512, column : column + 512] += 1
    assert (seen == 1).all()
    assert len(set(corners)) == len(corners) == -(-shape[0] // 512) * -(-shape[1] // 512)


def test_forecasts_are_named_by_their_time() -> None:
    times = [np.datetime64("2018-05-16T15:05"), np.datetime64("2018-05-16T16:00:00")]
    assert forecast_names(times) == {
        "20180516T150500.nc": "2018-05-16T15:05:00",
        "20180516T160000.nc": "2018-05-16T16:00:00",
    }


def test_what_is_left_keeps_its_order() -> None:
    assert left_to_do(("c", "a", "b"), {"a"}) == ("c", "b")


@pytest.mark.parametrize(
    ("count", "slots", "sizes"),
    [(1, 2, [1]), (16, 2, [4, 3, 2, 1, 1, 1, 1, 1, 1, 1]), (3, 8, [1, 1, 1])],
)
def test_tasks_become_smaller(count: int, slots: int, sizes: list[int]) -> None:
    assert [len(task) for task in tasks_for([*"x" * count], slots)] == sizes


def test_tasks_hold_every_piece_once() -> None:
    pieces = [str(number) for number in range(500)]
    tasks = tasks_for(pieces, 2)
    assert [piece for task in tasks for piece in task] == pieces
    assert max(map(len, tasks)) == 16
    assert len(tasks[-1]) == 1


def test_a_folder_belongs_to_one_plan(tmp_path: Path) -> None:
    out = tmp_path / "out"
    results.claim_folder(out, PLAN)
    (out / "tiles").mkdir()
    results.claim_folder(out, PLAN)
    other = Plan(PLAN.program, "v" * 64, {"/data/other": "abc"}, PLAN.pieces)
    with pytest.raises(OutputError, match="begun with other weights, inputs"):
        results.claim_folder(out, other)
    (out / "plan.json").write_text("[1]")
    with pytest.raises(OutputError, match="plan.json: not a plan"):
        results.claim_folder(out, PLAN)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/letter.txt").touch()
    with pytest.raises(OutputError, match="holds other files"):
        results.claim_folder(tmp_path / "taken", PLAN)


def test_a_changed_input_is_another_plan(tmp_path: Path, scene: Path) -> None:
    file = tmp_path / "a.nc"
    file.write_text("rain")
    before = results.input_fingerprints((file, tmp_path))
    file.write_text("snow and rain")
    after = results.input_fingerprints((file, tmp_path))
    assert all(before[name] != after[name] for name in before)
    assert len(results.input_fingerprints((scene,))[scene.as_posix()]) == 64


def test_a_result_counts_when_its_checksum_fits(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    results.write_arrays(path, {"classes": np.arange(9)})
    assert not results.is_intact(path)
    results.seal(path)
    assert results.is_intact(path)
    subprocess.run(["sha256sum", "--check", "--quiet", "a.npz.sha256"], cwd=tmp_path, check=True)
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    path.write_bytes(content)
    assert not results.is_intact(path)
    path.unlink()
    assert not results.is_intact(path)


def test_joined_tiles_are_the_file_of_forecast(run: Path, scene: Path, tmp_path: Path) -> None:
    map_scene(LandcoverPredictor.load(run), [scene], tmp_path / "whole.nc")
    request, out = Request((scene,)), tmp_path / "out"
    with open_work(run, request) as work:
        assert len(work.pieces) == 4
        # In any order, and in two calls.
        assert make(run, request, out, tuple(work.pieces[:0:-1])) == []
        kept = (out / work.pieces[1]).stat().st_mtime_ns
        assert make(run, request, out, tuple(work.pieces)) == []
        assert (out / work.pieces[1]).stat().st_mtime_ns == kept
        assert "%" in work.join(out)
    assert (out / "map.nc").read_bytes() == (tmp_path / "whole.nc").read_bytes()


def test_a_known_error_comes_back_as_it_is(run: Path, scene: Path, tmp_path: Path) -> None:
    request, out = Request((scene,)), tmp_path / "out"
    with open_work(run, request) as work:
        pieces = tuple(work.pieces[:2])
    (out / pieces[0]).mkdir(parents=True)
    (first,) = make(run, request, out, pieces)
    assert first.piece == pieces[0]
    assert first.exit_status == 6
    assert results.is_intact(out / pieces[1])
    with pytest.raises(JobError, match=r"cannot be written .*\(1 more pieces failed\)") as caught:
        require_success([first, first])
    assert caught.value.exit_status == 6


def test_executors_of_another_version_are_refused(run: Path, scene: Path) -> None:
    package = worker.pack(run, Request((scene,)))
    package.versions["keras"] = "2.15.0"
    with ExitStack() as stack, pytest.raises(ParallelError, match="keras 2.15.0 and 3"):
        worker.open_package(package, stack)


def test_starts_are_those_with_all_their_frames(tmp_path: Path) -> None:
    minutes = [0, 5, 10, 15, 20, 30, 35, 40, 45]
    source = open_source([write_radar(tmp_path / "a.nc", rising(9), minutes=minutes)])
    found = [str(time)[11:16] for time in possible_starts(Doubler(), source, 5)]
    assert found == ["00:10", "00:15", "00:20", "00:40", "00:45"]
    assert [str(t)[11:16] for t in possible_starts(Doubler(), source, 20)] == ["00:20", "00:40"]
    with pytest.raises(ConfigError, match="--every 0"):
        possible_starts(Doubler(), source, 0)


def test_an_archive_is_forecast_from_each_start(tmp_path: Path) -> None:
    source = open_source([write_radar(tmp_path / "a.nc", rising())])
    times = forecast_names(possible_starts(Doubler(), source, 20))
    work = ArchiveWork(Doubler(), source, times)
    assert work.pieces == ("20200101T002000.nc", "20200101T004000.nc")
    for piece, newest in zip(work.pieces, (5.0, 9.0), strict=True):
        work.compute(piece, tmp_path / piece)
        with netCDF4.Dataset(tmp_path / piece) as file:
            assert (file["precip_intensity"][:] == 2 * newest).all()
    assert "2 forecasts, 2020-01-01T00:20:00 to 2020-01-01T00:40:00" in work.join(tmp_path)


def test_masters() -> None:
    assert local_slots("local[3]") == local_slots("local[3,4]") == 3
    assert local_slots("local-cluster[2,3,1024]") == 6
    assert local_slots("local") == 1
    assert (local_slots("local[*]") or 0) >= 1
    assert local_slots("spark://host:7077") is None
    local = ["local", "local[2]", "local-cluster[2,1,1024]", "spark://127.0.0.1:7077"]
    assert all(map(is_local, local))
    assert not any(map(is_local, ["spark://host:7077", "yarn", "k8s://https://127.0.0.1:1"]))


def test_settings() -> None:
    given = parse_settings(["spark.task.cpus=3", "spark.x=a=b"])
    assert given == {"spark.task.cpus": "3", "spark.x": "a=b"}
    local, remote = (session_settings(m, given, {}) for m in ("local[2]", "yarn"))
    assert local["spark.driver.host"] == "127.0.0.1"
    assert "spark.driver.host" not in remote
    assert remote["spark.x"] == "a=b"
    assert worker_variables(remote)["TF_NUM_INTRAOP_THREADS"] == "3"
    with pytest.raises(ConfigError, match="--conf spark.x: expected"):
        parse_settings(["spark.x"])


def test_a_failed_job_in_one_line() -> None:
    task = "Job aborted: Lost task 0.3: org.apache.spark.api.python.PythonException: "
    trace = 'Traceback (most recent call last):\n  File "a.py", line 1\n{}\n\n\tat org.apache.spark'
    unknown = explain(task + trace.format("ValueError: odd"), LOG)
    assert str(unknown).startswith("a Spark task failed: ValueError: odd. ")
    assert unknown.exit_status == 1
    absent = explain(task + trace.format("ModuleNotFoundError: No module named 'keras'"), LOG)
    assert "PYSPARK_PYTHON" in str(absent)
    assert absent.exit_status == 8
    assert "Executor heartbeat timed out. Details" in str(
        explain("Executor heartbeat timed out\n\tat x", LOG)
    )


def test_training_beyond_this_machine_needs_trust() -> None:
    require_trust(local=True, trusted=False)
    require_trust(local=False, trusted=True)
    with pytest.raises(ParallelError, match="--trust-network"):
        require_trust(local=False, trusted=False)


def test_how_a_training_on_spark_ends() -> None:
    told = explain_failure(RuntimeError("mpirun failed with exit code 85"))
    assert isinstance(told, SystemExit)
    assert told.code == 85
    killed = explain_failure(RuntimeError("mpirun failed with exit code 137"))
    assert "signal 9" in str(killed)
    assert "--resume" in str(killed)
    late = explain_failure(TimeoutError("Timed out waiting for Spark tasks"))
    assert "did not start in Spark's tasks: Timed out" in str(late)


MPIRUN = """#!/bin/sh
trap 'exit 85' USR1
kill -TERM $PPID
for turn in $(seq 100); do sleep 0.1; done
"""


def launch_like_horovod(*arguments: object, **named: object) -> None:
    status = subprocess.run(["mpirun"], check=False).returncode
    raise RuntimeError(f"mpirun failed with exit code {status}")


def test_sigterm_to_the_driver_lets_the_ranks_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psutil")
    mpirun = tmp_path / "mpirun"
    mpirun.write_text(MPIRUN)
    mpirun.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(spark_launch, "_open_mpi_version", lambda: 4)
    monkeypatch.setattr(spark_launch, "_options_for", lambda version: nullcontext())
    horovod = SimpleNamespace(run=launch_like_horovod)
    monkeypatch.setattr(spark_launch, "_import_horovod", lambda: horovod)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        spark_launch.run_on_spark(print, (), 2, {}, local=True)
    assert left.value.code == 85
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_before_there_is_anything_to_save_can_be_resumed_too() -> None:
    killed = RuntimeError("mpirun failed with exit code 138")
    for problem in (killed, KeyboardInterrupt()):
        told = explain_failure(problem, [signal.SIGTERM])
        assert isinstance(told, Interrupted)
        assert "SIGTERM" in str(told)


def test_ranks_are_given_no_passwords() -> None:
    kept = {"PATH": "/bin", "OMPI_MCA_btl": "self", "HOROVOD_CYCLE_TIME": "1"}
    assert exported({**kept, "AWS_SECRET": "x", "PATHS": "x", "MY_TF_KEY": "x"}) == kept


def test_marks_of_mpirun_are_taken_away(capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    Untagged(sys.stdout).write("[1,0]<stderr>: error: a\n[1,1]<stdout>:b\nplain [2]\n")
    assert capsys.readouterr().out == "error: a\nb\nplain [2]\n"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["predict", "{run}", "gone.nc", "--out", "{tmp}/o"], 3, "gone.nc"),
        (["predict", "{run}", "{run}", "--out", "{tmp}/o"], 3, "run"),
        (["predict", "{tmp}", "{scene}", "--out", "{tmp}/o"], 5, "not a run folder"),
        (["predict", "{run}", "{scene}", "--out", "{run}"], 6, "holds other files"),
        (["predict", "{run}", "{scene}", "--out", "{tmp}/o", "--conf", "x"], 2, "--conf x"),
        (
            ["train", "x.yaml", "--run", "r", "--num-proc", "3", "--master", "local[2]"],
            8,
            "--num-proc 2",
        ),
        (
            ["train", "x.yaml", "--run", "r", "--num-proc", "2", "--master", "yarn"],
            8,
            "--trust-network",
        ),
    ],
)
def test_mistakes_are_told_before_spark_starts(
    run: Path,
    scene: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    filled = [text.format(run=run, scene=scene, tmp=tmp_path) for text in arguments]
    with pytest.raises(SystemExit) as caught:
        main(["spark", *filled])
    assert caught.value.code == status
    assert message in capsys.readouterr().err


def test_a_watershed_comes_as_shards(tmp_path: Path) -> None:
    from hvd_nowcast.spark.flood import open_flood_work

    with (
        pytest.raises(InputError, match="shards build --format watershed"),
        open_flood_work(tmp_path, Request((tmp_path,))),
    ):
        pass
