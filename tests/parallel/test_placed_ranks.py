"""Ranks that fill the cores they are given keep to one each, with all the threads they start."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.parallel.conftest import run_ranks

CORES = sorted(os.sched_getaffinity(0))[:2]


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_that_fill_their_cores_keep_to_one_each(tmp_path: Path, ranks: int) -> None:
    if len(CORES) < 2:
        pytest.skip("this machine has one core")
    run_ranks(ranks, "placed_ranks.py", json.dumps(CORES), tmp_path)
    own = [[core] for core in CORES] if ranks == len(CORES) else [CORES] * ranks
    for rank, expected in enumerate(own):
        places, threads = json.loads((tmp_path / f"{rank}.json").read_text())
        assert threads > 2
        assert places == [expected]
