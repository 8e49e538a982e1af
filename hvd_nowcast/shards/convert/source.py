"""What every converter gives: frames with times, a grid and a packing, read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import InputError
from hvd_nowcast.grid import Grid
from hvd_nowcast.shards.schema import QUANTITIES, Packing, Times

Field = NDArray[np.float32]

# A few odd pixels are masked and counted; more than this share of a frame is an error of the file.
LARGEST_BAD_SHARE = 0.01
# Lost frames make odd steps, but so many equal ones in a row are another time step.
SECOND_STEP_RUN = 6


@dataclass(frozen=True)
class Options:
    """What a user may say about the inputs.

    Attributes
    ----------
    variable
        Name of the variable, where a file holds several.
    relation
        Name of a reflectivity-rain relation in ``grid.RELATIONS``.
    """

    variable: str | None = None
    relation: str | None = None


@dataclass
class FrameSource:
    """Frames of one quantity on one grid.

    Attributes
    ----------
    quantity
        Name in ``QUANTITIES``.
    packing
        How frames are stored; the input's own codes where it has such.
    grid
        Row 0 in the north.
    times
        ``datetime64[s]``, rising inside a sequence, shape ``(frames,)``.
    sequence
        Changes where the next frame does not follow the one before, shape ``(frames,)``.
    read
        Frame number to physical values, NaN where missing, shape ``(y, x)``.
    files
        File of each frame, for messages.
    attributes
        Kept in every shard: title, institution, license, source, zr_name, ...
    event
        True for event data, whose sequences never continue each other.
    companions
        Other files to be written beside the shards: name, and what writes it at a path.
    """

    quantity: str
    packing: Packing
    grid: Grid
    times: Times
    sequence: NDArray[np.int32]
    read: Callable[[int], Field]
    files: Sequence[Path]
    attributes: dict[str, Any] = field(default_factory=dict)
    event: bool = False
    companions: dict[str, Callable[[Path], None]] = field(default_factory=dict)

    @property
    def step_seconds(self) -> int:
        """Time between the frames of a sequence; five minutes where no two frames follow."""
        steps = np.diff(self.times)[np.diff(self.sequence) == 0].astype(np.int64)
        return int(np.median(steps)) if len(steps) else 300


def sequences_of(times: Times, files: Sequence[Path]) -> NDArray[np.int32]:
    """Number the unbroken sequences of rising times: a longer step than usual starts a new one.

    Parameters
    ----------
    times
        Time of each frame, ``datetime64[s]``.
    files
        File of each frame, for messages.

    Raises
    ------
    InputError
        When times repeat, run backward, or follow each other by two different steps; a gap is a
        multiple of the step.
    """
    steps = np.diff(times).astype("timedelta64[s]").astype(np.int64)
    if not len(steps):
        return np.zeros(len(times), np.int32)
    _require_rising(steps, times, files)
    values, counts = np.unique(steps, return_counts=True)
    step = int(values[np.argmax(counts)])
    odd = np.flatnonzero((steps % step != 0) | _in_long_run(steps, step))
    if len(odd):
        first = int(odd[0])
        raise InputError(
            files[first + 1],
            f"expected one time step, got {steps[first]} s at {times[first]}, elsewhere {step} s",
            "Build one folder of shards for each time step",
        )
    return np.concatenate([[0], np.cumsum(steps != step)]).astype(np.int32)


def _require_rising(steps: NDArray[np.int64], times: Times, files: Sequence[Path]) -> None:
    falling = np.flatnonzero(steps <= 0)
    if not len(falling):
        return
    first = int(falling[0])
    kind = "a repeated" if steps[first] == 0 else "a backward"
    raise InputError(
        files[first + 1],
        f"expected rising times, got {kind} time at {times[first + 1]} after {files[first].name}",
        "Remove the doubled frames or files, or sort the frames by time",
    )


def _in_long_run(steps: NDArray[np.int64], step: int) -> NDArray[np.bool_]:
    """Whether each step is one of many equal ones in a row that are not the usual step."""
    edges = np.flatnonzero(np.diff(steps)) + 1
    lengths = np.diff([0, *edges, len(steps)])
    return (np.repeat(lengths, lengths) >= SECOND_STEP_RUN) & (steps != step)


def checked(values: Field, quantity: str, path: Path) -> tuple[Field, int]:
    """Mask impossible values of one frame.

    Parameters
    ----------
    values
        Physical values, NaN where missing.
    quantity
        Name in ``QUANTITIES``.
    path
        File, for the message.

    Returns
    -------
    values, masked
        The frame, and how many pixels had to be masked.

    Raises
    ------
    InputError
        When more than 1 % of the valid pixels are infinite, negative or too large.
    """
    kind = QUANTITIES[quantity]
    missing = np.isnan(values)
    bad = ~missing & ~((values >= kind.valid_min) & (values <= kind.valid_max))
    count = int(bad.sum())
    if count > LARGEST_BAD_SHARE * max(1, (~missing).sum()):
        worst = values[bad].flat[0]
        raise InputError(
            path,
            f"expected {kind.long_name} of {kind.valid_min:g} to {kind.valid_max:g} {kind.units}, "
            f"but {count} pixels of a frame are outside, such as {worst:g}",
            "Check the variable, its units and its missing value",
        )
    return (np.where(bad, np.nan, values) if count else values), count
