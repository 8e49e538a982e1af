"""Runs the program as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
Program = Callable[..., "subprocess.CompletedProcess[str]"]


def environment() -> dict[str, str]:
    """One thread, no TensorFlow chatter."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


@pytest.fixture
def program() -> Program:
    """Call ``hvd-nowcast`` with arguments and return what it printed."""

    def call(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "hvd_nowcast", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=REPOSITORY,
            env=environment(),
            timeout=300,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return call
