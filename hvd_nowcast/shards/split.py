"""Which frames are for training, validation and test: by date or by share, never at random."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.shards.schema import Times

SPLITS = ("train", "validation", "test")
DROPPED = -1

# Name of a split, start, and end, which is excluded.
TimeRange = tuple[str, np.datetime64, np.datetime64]


@dataclass(frozen=True)
class SplitRule:
    """How an archive is divided; exactly one of the two forms is given.

    Attributes
    ----------
    ranges
        Names of splits with half-open time ranges; a split may have several.
    fractions
        Per split, a share of the archive in time order.
    """

    ranges: tuple[TimeRange, ...] | None = None
    fractions: dict[str, float] | None = None

    def assign(self, times: Times, sequence: NDArray[np.int32], event: bool) -> NDArray[np.int8]:
        """Number in `SPLITS` of each frame, or `DROPPED`.

        Parameters
        ----------
        times
            Time of each frame.
        sequence
            Sequence of each frame.
        event
            True for event data, whose sequences are never cut.
        """
        if self.ranges is not None:
            where = _by_range(self.ranges, times)
        else:
            where = _by_fraction(self.fractions or {}, len(times))
        if event:
            first = np.concatenate([[True], np.diff(sequence) != 0])
            where = where[first][np.cumsum(first) - 1]
        return where


def parse_split(text: str) -> SplitRule:
    """Read ``train=0.7,validation=0.15,test=0.15`` or ``train=2018-05-10:2018-05-15,...``.

    Dates are UTC and the end is excluded. A split may have several ranges, each with its name.

    Raises
    ------
    ConfigError
        When the text is neither.
    """
    parts = [part.partition("=")[::2] for part in text.split(",")]
    unknown = {name for name, _ in parts} - set(SPLITS)
    if unknown or not parts:
        raise ConfigError(
            f"--split {text}: expected {', '.join(SPLITS)}, got {', '.join(sorted(unknown))}"
        )
    try:
        if any("-" in value for _, value in parts):
            return _parse_ranges(parts)
        return _parse_fractions(parts)
    except ValueError as problem:
        raise ConfigError(
            f"--split {text}: {problem}. Give shares (train=0.7,validation=0.15,test=0.15) or "
            "dates with the end excluded (train=2018-05-10:2018-05-15,...)"
        ) from problem


def _parse_ranges(parts: Sequence[tuple[str, str]]) -> SplitRule:
    ranges = tuple(_parse_range(name, value) for name, value in parts)
    ordered = sorted((start, end) for _, start, end in ranges)
    if any(later[0] < earlier[1] for earlier, later in itertools.pairwise(ordered)):
        raise ValueError("the ranges overlap")
    return SplitRule(ranges=ranges)


def _parse_range(name: str, value: str) -> TimeRange:
    # A time of day holds colons too: the separator is the colon before a year.
    middle = next(
        (i for i, sign in enumerate(value) if sign == ":" and value[i + 5 : i + 6] == "-"), None
    )
    if middle is None:
        raise ValueError(f"{name} has no start:end")
    start, end = (np.datetime64(t, "s") for t in (value[:middle], value[middle + 1 :]))
    if start >= end:
        raise ValueError(f"{name} ends before it starts")
    return name, start, end


def _parse_fractions(parts: Sequence[tuple[str, str]]) -> SplitRule:
    fractions = {name: float(value) for name, value in parts}
    if len(fractions) < len(parts):
        raise ValueError("a split has two shares")
    if min(fractions.values()) < 0 or not 0 < sum(fractions.values()) <= 1 + 1e-9:
        raise ValueError("shares must not be negative and add up to at most 1")
    return SplitRule(fractions=fractions)


def _by_range(ranges: Sequence[TimeRange], times: Times) -> NDArray[np.int8]:
    where = np.full(len(times), DROPPED, np.int8)
    for name, start, end in ranges:
        where[(times >= start) & (times < end)] = SPLITS.index(name)
    return where


def _by_fraction(fractions: dict[str, float], frames: int) -> NDArray[np.int8]:
    where = np.full(frames, DROPPED, np.int8)
    start, share = 0, 0.0
    for number, name in enumerate(SPLITS):
        share += fractions.get(name, 0.0)
        stop = round(min(share, 1.0) * frames)
        where[start:stop] = number
        start = stop
    return where
