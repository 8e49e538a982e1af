"""Real Spark: executors in processes of their own, one of which is killed, and a training."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from hvd_nowcast.landcover.forecast import map_scene
from hvd_nowcast.landcover.predictor import LandcoverPredictor
from tests.system.conftest import REPOSITORY, Program, environment
from tests.unit.made_scene import make_untrained_run, write_wide_scene

pytestmark = [pytest.mark.system, pytest.mark.slow]

TINY = ["configs/tiny.yaml", "--set", "training.steps=4", "--set", "training.validate_every=4"]


@pytest.fixture(scope="module", autouse=True)
def need_spark() -> None:
    """Skip where there is no Spark or no Java, and say so."""
    if find_spec("pyspark") is None:
        pytest.skip("pyspark is not installed: launch/setup.sh brings it where there is Java")
    if shutil.which("java") is None:
        pytest.skip("no java on the PATH: install Java 17")


def children(parent: int) -> list[int]:
    """Processes below one, in any depth."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # It has just ended.
        if int(fields[1]) == parent:
            number = int(status.parent.name)
            found += [number, *children(number)]
    return found


def executors(parent: int) -> list[int]:
    """Java processes that are executors."""
    name = b"CoarseGrainedExecutorBackend"
    return [p for p in children(parent) if name in Path(f"/proc/{p}/cmdline").read_bytes()]


def sealed(out: Path) -> set[str]:
    return {file.stem for file in out.glob("tiles/*.sha256")}


def test_a_killed_executor_and_damaged_tiles_change_nothing(tmp_path: Path) -> None:
    scene = write_wide_scene(tmp_path / "scene", 22)
    run, out = make_untrained_run(tmp_path / "run", scene, (48, 48)), tmp_path / "out"
    map_scene(LandcoverPredictor.load(run), [scene], tmp_path / "whole.nc")
    command = [sys.executable, "-m", "hvd_nowcast", "spark", "predict", run, scene, "--out", out]

    def start(master: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        words = [*map(str, command), "--master", master]
        return subprocess.Popen(words, cwd=REPOSITORY, env=environment(), text=True, **pipes)

    with start("local-cluster[2,1,1024]") as job:
        while not sealed(out):
            assert job.poll() is None, job.communicate()
            time.sleep(0.02)
        before = executors(job.pid)
        os.kill(before[0], signal.SIGKILL)
        done = len(sealed(out))
        printed, errors = job.communicate(timeout=200)
    assert job.returncode == 0, errors
    assert len(before) == 2
    pieces = json.loads((out / "plan.json").read_text())["pieces"]
    assert done < len(pieces) == len(sealed(out)) == 20
    assert "Lost executor" in (out / "spark.log").read_text()
    assert "20 of 20 pieces" in printed
    assert errors == ""
    whole = (tmp_path / "whole.nc").read_bytes()
    assert (out / "map.nc").read_bytes() == whole

    times = {name: (out / name).stat().st_mtime_ns for name in pieces}
    (out / pieces[3]).unlink()
    with (out / pieces[11]).open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    with start("local[1]") as job:
        printed, errors = job.communicate(timeout=200)
    assert job.returncode == 0, errors
    assert "2 of 20 pieces" in printed
    again = [name for name in pieces if (out / name).stat().st_mtime_ns != times[name]]
    assert again == [pieces[3], pieces[11]]
    assert (out / "map.nc").read_bytes() == whole


def test_ranks_in_spark_tasks_train_the_weights_of_mpirun(tmp_path: Path, program: Program) -> None:
    if shutil.which("mpirun") is None or find_spec("horovod") is None:
        pytest.skip("no mpirun or no Horovod: launch/setup.sh builds them")
    on_spark, plain = tmp_path / "spark", tmp_path / "plain"
    two = ["--num-proc", 2, "--master", "local[2]"]
    done = program("spark", "train", *TINY, "--run", on_spark, *two)
    assert "2 ranks" in done.stderr
    command = ["mpirun", "-n", "2", "--oversubscribe", "--bind-to", "none", "--allow-run-as-root"]
    command += [sys.executable, "-m", "hvd_nowcast", "train", *TINY, "--run", str(plain)]
    subprocess.run(command, check=True, cwd=REPOSITORY, env=environment(), capture_output=True)
    weights = [json.loads((r / "final.json").read_text())["fingerprint"] for r in (on_spark, plain)]
    assert weights[0] == weights[1]
