"""SEVIR (Veillette et al. 2020): storm events of 49 frames in HDF5, VIL as a code of 0 to 254.

``vil`` has shape ``(events, 384, 384, 49)``; 255 is missing. The code is kept: it is what the
published models and scores use. The files carry no times: those come from ``CATALOG.csv``, given
as a further input, else event k starts k days after 2000-01-01. Each event is a sequence of its
own, whatever its time.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import Grid
from hvd_nowcast.shards.convert.hdf5 import (
    is_hdf5_with,
    open_hdf5,
    read_part,
    require,
    require_bounded,
)
from hvd_nowcast.shards.convert.source import Field, FrameSource, Options
from hvd_nowcast.shards.schema import Packing

STEP_SECONDS = 300
PIXEL_METRES = 1000.0
MISSING = 255


def open_sevir(paths: Sequence[Path], options: Options) -> FrameSource:
    """Open VIL files, and the catalogue when it is among the paths.

    Raises
    ------
    InputError
        When a file is not of this kind.
    """
    catalogues = [path for path in paths if path.suffix == ".csv"]
    stored = [path for path in paths if path.suffix != ".csv"]
    if not stored:
        raise InputError(paths[0], "expected SEVIR VIL files beside the catalogue", "Add them")
    events = [event for path in stored for event in _events(path)]
    frames, side = _frame_shape(stored)
    starts = _starts(events, catalogues)
    order = np.argsort(starts, kind="stable")
    if not len(order):
        raise InputError(stored[0], "holds no event", "Give a file with events")
    steps = np.arange(frames) * np.timedelta64(STEP_SECONDS, "s")
    places = [(*events[event][:2], frame) for event in order for frame in range(frames)]

    # The file holds an event in one piece: read it once for all its frames.
    event_of = lru_cache(1)(_read_event)

    def read(number: int) -> Field:
        path, event, frame = places[number]
        codes = event_of(path, event)[:, :, frame]
        return np.where(codes == MISSING, np.nan, codes).astype(np.float32)

    axis = (np.arange(side) + 0.5) * PIXEL_METRES
    return FrameSource(
        "vil",
        Packing("uint8", 1.0, 0.0, MISSING),
        Grid(axis, axis[::-1]),
        (starts[order][:, None] + steps).ravel(),
        np.repeat(np.arange(len(events)), frames).astype(np.int32),
        read,
        [path for path, _, _ in places],
        {"title": "SEVIR vertically integrated liquid", "source": "SEVIR, Veillette et al. 2020"},
        event=True,
    )


def recognise_sevir(path: Path) -> bool:
    """Whether a file is of this kind."""
    return path.suffix in (".h5", ".hdf5") and is_hdf5_with(path, "vil")


def _events(path: Path) -> list[tuple[Path, int, str]]:
    """File, number in the file and name of each event."""
    with open_hdf5(path) as content:
        require(content, path, "vil", "id")
        vil = content["vil"]
        if vil.ndim != 4 or vil.dtype != np.uint8:
            raise InputError(
                path,
                f"expected vil as uint8 (events, y, x, frames), got {vil.dtype} {vil.shape}",
                "Give SEVIR's own VIL files",
            )
        require_bounded(path, vil, vil.shape[0])
        ids = read_part(path, content["id"], ...)
        if len(ids) != vil.shape[0]:
            raise InputError(
                path, f"names {len(ids)} events but holds {vil.shape[0]}", "Copy it again"
            )
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in ids]
    return [(path, number, name) for number, name in enumerate(names)]


def _read_event(path: Path, event: int) -> NDArray[np.uint8]:
    with open_hdf5(path) as content:
        codes: NDArray[np.uint8] = read_part(path, content["vil"], event)
    return codes


def _frame_shape(paths: Sequence[Path]) -> tuple[int, int]:
    shapes: dict[tuple[int, ...], Path] = {}
    for path in paths:
        with open_hdf5(path) as content:
            shapes[content["vil"].shape[1:]] = path
    if len(shapes) > 1:
        raise InputError(
            list(shapes.values())[1],
            f"its events have another shape: {list(shapes)}",
            "Build one folder of shards for each shape",
        )
    rows, columns, frames = next(iter(shapes))
    if rows != columns or not frames:
        raise InputError(
            paths[0], f"expected square events, got {rows} x {columns}", "Give SEVIR's own files"
        )
    return frames, rows


def _starts(
    events: Sequence[tuple[Path, int, str]], catalogues: Sequence[Path]
) -> NDArray[np.datetime64]:
    if not catalogues:
        return np.datetime64("2000-01-01T00:00:00", "s") + np.arange(len(events)) * np.timedelta64(
            1, "D"
        )
    times: dict[str, np.datetime64] = {}
    for path in catalogues:
        times |= _catalogued(path)
    unknown = [name for _, _, name in events if name not in times]
    if unknown:
        raise InputError(
            catalogues[0], f"has no time for the event {unknown[0]}", "Give the whole catalogue"
        )
    return np.array([times[name] for _, _, name in events], "datetime64[s]")


def _catalogued(path: Path) -> dict[str, np.datetime64]:
    """First time of each event; ``time_utc`` is that of its frame with the offset of 0 minutes."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not {"id", "time_utc"} <= set(reader.fieldnames or ()):
                raise InputError(path, "expected the columns id and time_utc", "Give CATALOG.csv")
            rows = [row for row in reader if (row.get("img_type") or "vil") == "vil"]
        return {
            row["id"]: np.datetime64(row["time_utc"].replace(" ", "T"), "s")
            + np.timedelta64(int((row.get("minute_offsets") or "0").partition(":")[0]), "m")
            for row in rows
        }
    except OSError as problem:
        raise InputError(path, f"cannot be read ({problem.strerror})", "Check it") from problem
    except (ValueError, AttributeError) as problem:
        if isinstance(problem, InputError):
            raise
        raise InputError(path, f"is no SEVIR catalogue ({problem})", "Copy it again") from problem
