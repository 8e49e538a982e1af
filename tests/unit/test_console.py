from __future__ import annotations

import pytest

from hvd_nowcast import console


def test_table_aligns_columns_and_shows_missing_values() -> None:
    text = console.table(["name", "score"], [["model", 0.5], ["optical flow", None]])
    assert text.splitlines() == [
        "name          score",
        "------------  -----",
        "model         0.500",
        "optical flow      -",
    ]


def test_results_and_messages_go_to_different_streams(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("result")
    console.warn("careful")
    console.fail("reason")
    captured = capsys.readouterr()
    assert captured.out == "result\n"
    assert captured.err == "warning: careful\nerror: reason\n"


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(console.progress([1, 2], "counting")) == [1, 2]
    assert capsys.readouterr().err == ""
