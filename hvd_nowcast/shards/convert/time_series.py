"""PCRaster time series: a header of column names, then a line per step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import InputError

# What PCRaster writes for no value.
NO_VALUE = 1e31


def read_time_series(path: Path) -> NDArray[np.float64]:
    """Columns of a ``.tss`` file without the step number, NaN where missing, shape (t, columns).

    Raises
    ------
    InputError
        When it is not such a file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        columns = int(lines[1])
        rows = [
            [float(word) for word in line.split()] for line in lines[2 + columns :] if line.strip()
        ]
        values = np.array(rows)[:, 1:]
    except (OSError, ValueError, IndexError) as problem:
        raise InputError(
            path, f"not a PCRaster time series ({problem})", "Write it as LISFLOOD does, as text"
        ) from problem
    if not len(values) or values.shape[1] != columns - 1:
        raise InputError(
            path, f"announces {columns} columns, has {values.shape[1] + 1}", "Write it again"
        )
    return np.where(np.abs(values) >= NO_VALUE, np.nan, values)
