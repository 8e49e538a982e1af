"""Formats with one frame in each file, named or stamped with its time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import Grid
from hvd_nowcast.shards.convert.source import Field, FrameSource, sequences_of
from hvd_nowcast.shards.schema import Packing


class FrameHeader(NamedTuple):
    """What one file says of its frame.

    Attributes
    ----------
    path
        The file.
    time
        Time of the frame, UTC.
    grid
        Where its pixels lie.
    """

    path: Path
    time: np.datetime64
    grid: Grid


def source_of_files(
    headers: Sequence[FrameHeader],
    read: Callable[[Path], Field],
    packing: Packing,
    attributes: dict[str, Any],
) -> FrameSource:
    """Make a source of rain rate of one file per frame.

    Parameters
    ----------
    headers
        One per file, in any order.
    read
        File to rain rate in mm h-1, NaN where missing, shape ``(y, x)``.
    packing
        How frames are stored.
    attributes
        Kept in every shard.

    Raises
    ------
    InputError
        When the grids differ or a time comes twice.
    """
    ordered = sorted(headers, key=lambda header: header.time)
    first = ordered[0]
    for header in ordered[1:]:
        if header.grid.digest != first.grid.digest:
            raise InputError(
                header.path,
                f"its grid {header.grid.shape} is not that of {first.path.name} {first.grid.shape}",
                "Build one folder of shards for each grid",
            )
    times = np.array([header.time for header in ordered], "datetime64[s]")
    files = [header.path for header in ordered]
    return FrameSource(
        "rain_rate",
        packing,
        first.grid,
        times,
        sequences_of(times, files),
        lambda number: read(files[number]),
        files,
        attributes,
    )
