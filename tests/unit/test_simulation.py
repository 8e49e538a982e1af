from __future__ import annotations

import pytest
from click.testing import CliRunner

from hvd_nowcast.cli import program
from hvd_nowcast.parallel.simulation import all_reduce_seconds, simulate


def test_unequal_speeds_gain_what_the_ceiling_allows() -> None:
    table, ceiling, _ = simulate([2.0, 1.0], 12)
    lines = {line.split()[0]: line for line in table.splitlines()[2:]}
    # Equal: 6 samples at 1 per second. Fastest: 8 and 4.
    assert lines["equal"].split() == ["equal", "6", "6", "6000.0", "1.00", "67%"]
    assert lines["fastest"].split() == ["fastest", "8", "4", "4000.0", "1.50", "100%"]
    assert ceiling.endswith("1.50")


def test_ring_all_reduce() -> None:
    assert all_reduce_seconds(1, 10**9, 1.0, 1.0) == 0
    assert all_reduce_seconds(4, 8 * 10**6, 1e-3, 1e9) == pytest.approx(6e-3 + 1.5 * 8e-3)


def test_plan_on_the_command_line_and_its_bad_input() -> None:
    run = CliRunner().invoke(program, ["plan", "--speeds", "1,1,0.5", "--batch", "10"])
    assert run.exit_code == 0
    assert "4 4 2" in run.output
    for speeds in ("1,x", "1,0"):
        bad = CliRunner().invoke(program, ["plan", "--speeds", speeds, "--batch", "10"])
        assert bad.exit_code == 2
        assert f"--speeds {speeds}" in bad.output
