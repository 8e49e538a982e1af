"""Which pieces a distributed inference has, and which of them are left to do. Nothing is read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import dacite
import numpy as np

from hvd_nowcast.reference_time import time_stamp
from hvd_nowcast.shards.scene import squares

# More would leave the progress bar where it is for too long.
LARGEST_TASK = 16


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes
    ----------
    inputs
        Files or a folder of shards, absolute, on a disk that all executors see.
    every_minutes
        Between the starts of forecasts from an archive.
    geotiff
        Whether a class map is a GeoTIFF instead of netCDF.
    """

    inputs: tuple[Path, ...]
    every_minutes: int = 60
    geotiff: bool = False


@dataclass(frozen=True)
class Plan:
    """What makes results of one call belong together.

    Attributes
    ----------
    program
        Version of this program.
    weights
        SHA-256 of the model's file of weights.
    inputs
        Fingerprint of each input file.
    pieces
        Result files, relative to the output folder.
    """

    program: str
    weights: str
    inputs: dict[str, str]
    pieces: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Plan:
        """What `to_dict` gave.

        Raises
        ------
        dacite.DaciteError
            When it is something else.
        """
        return dacite.from_dict(cls, content, dacite.Config(strict=True, cast=[tuple]))

    def differences(self, other: Plan) -> list[str]:
        """Names of the fields in which two plans differ."""
        names = [field.name for field in fields(self)]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


def left_to_do(pieces: Sequence[str], intact: Collection[str]) -> tuple[str, ...]:
    """Pieces without a whole result, in their order."""
    return tuple(piece for piece in pieces if piece not in intact)


def tasks_for(pieces: Sequence[str], slots: int) -> list[tuple[str, ...]]:
    """Divide pieces, in their order, into tasks that become smaller towards the end.

    Spark takes some 50 ms of the cores to hand over a task, so the first have many pieces; the
    last have one, so that all slots end together.
    """
    tasks, first = [], 0
    while first < len(pieces):
        share = (len(pieces) - first) // (2 * slots)
        last = first + min(max(share, 1), LARGEST_TASK)
        tasks.append(tuple(pieces[first:last]))
        first = last
    return tasks


def tile_corners(shape: tuple[int, int], side: int) -> dict[str, tuple[int, int]]:
    """Result file of each tile of a scene (y, x), with the tile's first row and column."""
    return {
        f"tiles/row{row:06d}_column{column:06d}.npz": (row, column)
        for row, column in squares(shape, side)
    }


def forecast_names(times: Sequence[np.datetime64]) -> dict[str, str]:
    """Result file of each forecast of an archive, with its reference time."""
    return {f"{time_stamp(time)}.nc": str(time.astype("datetime64[s]")) for time in times}
