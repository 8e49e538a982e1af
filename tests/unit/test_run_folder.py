from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from hvd_nowcast.config import load_config
from hvd_nowcast.errors import RunFolderError
from hvd_nowcast.training.interrupt import InterruptFlag
from hvd_nowcast.training.run_folder import RunFolder

TINY = Path(__file__).parents[2] / "configs/tiny.yaml"


def test_a_new_folder_is_claimed_once(tmp_path: Path) -> None:
    config = load_config(TINY)
    run = RunFolder(tmp_path / "a/b")
    run.start(config)
    assert run.config() == config
    with pytest.raises(RunFolderError, match="--resume"):
        run.start(config)


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="already in use"):
        RunFolder(tmp_path).start(load_config(TINY))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_resume_with_other_settings_names_them(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.start(load_config(TINY))
    run.check_same(load_config(TINY))
    with pytest.raises(RunFolderError, match="training.seed: 0 -> 5"):
        run.check_same(load_config(TINY, ["training.seed=5"]))


def test_metrics_after_the_resumed_step_are_forgotten(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.cut_metrics(3)
    for step in (1, 2, 3, 4):
        run.append_metrics({"step": step})
    with run.metrics.open("a") as file:
        file.write('{"step": 5, "lo')
    run.cut_metrics(2)
    assert [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()] == [1, 2]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"data\.json"):
        RunFolder(tmp_path).read_json("data.json")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_only_sets_the_flag(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with InterruptFlag() as flag:
        assert not flag.raised
        os.kill(os.getpid(), number)
        assert flag.raised
        assert flag.signal is number
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_ends_at_once() -> None:
    with InterruptFlag() as flag, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert flag.raised
