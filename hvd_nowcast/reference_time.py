"""The time that a forecast starts from: as a user gives it, and as files are named by it."""

from __future__ import annotations

import numpy as np

from hvd_nowcast.errors import ConfigError


def parse_reference_time(text: str) -> np.datetime64:
    """Read the value of ``--time``.

    Raises
    ------
    ConfigError
        When it is no ISO time.
    """
    try:
        return np.datetime64(text, "s")
    except ValueError as problem:
        raise ConfigError(f"--time {text}: expected a time such as 2018-05-16T12:00") from problem


def time_stamp(time: np.datetime64) -> str:
    """A time for the name of a file, such as ``20180516T120000``."""
    return str(time.astype("datetime64[s]")).replace("-", "").replace(":", "")
