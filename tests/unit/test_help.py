"""The help of the commands."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from hvd_nowcast.cli import program


def shown(*arguments: str) -> str:
    return CliRunner().invoke(program, [*arguments, "--help"]).output


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ((), "hvd-nowcast shards build --format cf"),
        (("train",), "launch/local.sh 4 configs/demo.yaml"),
        (("probe",), "mpirun -n 4 hvd-nowcast probe"),
        (("shards", "stage"), "mpirun hvd-nowcast shards stage data/mine --to $TMPDIR/mine"),
        (("watch",), "hvd-nowcast watch runs/radar --input /data/incoming"),
    ],
)
def test_examples_keep_their_lines(command: tuple[str, ...], line: str) -> None:
    text = shown(*command)
    assert "\\b" not in text
    assert any(shown_line.strip().startswith(line) for shown_line in text.splitlines())
