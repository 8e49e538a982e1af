"""Sums that scores are made of: they add up over leads, starts, processes and evaluations.

A score of a whole set is the ratio of *pooled* sums, never a mean of scores, so halves that are
added equal the whole in any order (the idea of weatherbenchX's ``aggregation.py``).

Three rules hold for all of them:

* Only *valid* pixels count: those where the observation has data. They are the same for every
  source.
* A forecast without a value at a valid pixel counts as no rain, which is what a user of an
  extrapolation sees where the field has left the domain.
* An event is ``value >= threshold`` (as in pySTEPS).

Shapes: ``L`` lead times, ``T`` thresholds, ``S`` scales, ``y, x`` pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import Self

Field = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class ScoredFrame(NamedTuple):
    """A forecast and an observation at the pixels that are scored, shape (y, x) each.

    Attributes
    ----------
    forecast, observed
        Without NaN: 0 at pixels that are not valid, and where a forecast has no value.
    valid
        Where the observation has data.
    """

    forecast: Floats
    observed: Floats
    valid: NDArray[np.bool_]


def scored_frames(forecast: Field, observed: Field) -> Iterator[ScoredFrame]:
    """Bring a forecast and an observation to the pixels that are scored, lead by lead.

    One frame at a time, because all of them at once would need gigabytes on a national composite.

    Parameters
    ----------
    forecast, observed
        Physical units, NaN where there is no value, shape (L, y, x) both.

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    if forecast.shape != observed.shape:
        raise ValueError(f"forecast {forecast.shape} and observed {observed.shape} must be alike")
    for ours, theirs in zip(forecast, observed, strict=True):
        valid = ~np.isnan(theirs)
        yield ScoredFrame(
            np.where(valid & ~np.isnan(ours), ours, 0.0).astype(np.float64),
            np.where(valid, theirs, 0.0).astype(np.float64),
            valid,
        )


@dataclass(frozen=True, eq=False)
class AdditiveSums:
    """Base of all sums: fields that are arrays add up, all other fields must agree."""

    def __add__(self, other: Self) -> Self:
        """Add the sums of another set.

        Raises
        ------
        ValueError
            When the two have other thresholds, scales or lead times.
        """
        merged = {}
        for name, mine in self._fields().items():
            theirs = getattr(other, name)
            if isinstance(mine, np.ndarray):
                merged[name] = mine + theirs
            elif mine != theirs:
                raise ValueError(f"cannot add sums of different {name}: {mine} and {theirs}")
        return dataclasses.replace(self, **merged)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, ready for JSON."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in self._fields().items()
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Back from `to_dict`, also after a trip through JSON."""
        return cls(
            **{
                field.name: _restore(str(field.type), plain[field.name])
                for field in dataclasses.fields(cls)
            }
        )

    def _fields(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


_DTYPES = {"Floats": np.float64, "Counts": np.int64}


def _restore(kind: str, value: Any) -> Any:
    if kind in _DTYPES:
        return np.asarray(value, _DTYPES[kind])
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True, eq=False)
class ContingencySums(AdditiveSums):
    """Counts of the 2 x 2 table of events, shape (L, T) each.

    Attributes
    ----------
    thresholds
        In the unit of the field; an event is ``value >= threshold``.
    hits, misses, false_alarms, correct_negatives
        Numbers of valid pixels.
    """

    thresholds: tuple[float, ...]
    hits: Counts
    misses: Counts
    false_alarms: Counts
    correct_negatives: Counts

    @classmethod
    def zero(cls, leads: int, thresholds: Sequence[float]) -> Self:
        """Nothing counted yet."""
        empty = np.zeros((leads, len(thresholds)), np.int64)
        return cls(tuple(map(float, thresholds)), empty, empty, empty, empty)

    def update(self, forecast: Field, observed: Field) -> Self:
        """Add one forecast, shape (L, y, x), in physical units."""
        tables = [self._table(frame) for frame in scored_frames(forecast, observed)]
        return self + type(self)(self.thresholds, *np.moveaxis(np.array(tables, np.int64), -1, 0))

    def _table(self, frame: ScoredFrame) -> list[list[int]]:
        """Hits, misses, false alarms and correct negatives of each threshold."""
        pixels = np.count_nonzero(frame.valid)
        rows = []
        for threshold in self.thresholds:
            ours = (frame.forecast >= threshold) & frame.valid
            theirs = (frame.observed >= threshold) & frame.valid
            hits = np.count_nonzero(ours & theirs)
            misses = np.count_nonzero(theirs) - hits
            false_alarms = np.count_nonzero(ours) - hits
            rows.append([hits, misses, false_alarms, pixels - hits - misses - false_alarms])
        return rows


@dataclass(frozen=True, eq=False)
class ErrorSums(AdditiveSums):
    """Sums of errors over valid pixels, shape (L,) each.

    Attributes
    ----------
    absolute
        Sum of ``|F - O|`` in the unit of the field.
    squared
        Sum of ``(F - O)**2``.
    pixels
        Number of valid pixels.
    """

    absolute: Floats
    squared: Floats
    pixels: Counts

    @classmethod
    def zero(cls, leads: int) -> Self:
        """Nothing summed yet."""
        return cls(np.zeros(leads), np.zeros(leads), np.zeros(leads, np.int64))

    def update(self, forecast: Field, observed: Field) -> Self:
        """Add one forecast, shape (L, y, x), in physical units."""
        frames = list(map(_errors, scored_frames(forecast, observed)))
        absolute, squared, pixels = zip(*frames, strict=True)
        return self + type(self)(
            np.array(absolute), np.array(squared), np.array(pixels, dtype=np.int64)
        )


def _errors(frame: ScoredFrame) -> tuple[float, float, int]:
    error = frame.forecast - frame.observed
    return np.abs(error).sum(), np.square(error).sum(), np.count_nonzero(frame.valid)


@dataclass(frozen=True, eq=False)
class FssSums(AdditiveSums):
    """Sums of the fractions skill score, shape (L, T, S) each.

    With P the share of event pixels in a square window around a pixel (Roberts and Lean 2008,
    doi:10.1175/2007MWR2123.1) these are the three sums of ``pysteps.verification.spatialscores``.
    Windows reach over the border and over missing pixels as if no event were there, for the
    forecast and the observation alike; pySTEPS keeps the forecast's events at missing pixels.

    Attributes
    ----------
    thresholds
        In the unit of the field; an event is ``value >= threshold``.
    windows
        Sides of the windows in pixels.
    forecast_squared, observed_squared, product
        Sums of ``P_f**2``, ``P_o**2`` and ``P_f * P_o`` over all pixels.
    """

    thresholds: tuple[float, ...]
    windows: tuple[int, ...]
    forecast_squared: Floats
    observed_squared: Floats
    product: Floats

    @classmethod
    def zero(cls, leads: int, thresholds: Sequence[float], windows: Sequence[int]) -> Self:
        """Nothing summed yet."""
        empty = np.zeros((leads, len(thresholds), len(windows)))
        return cls(tuple(map(float, thresholds)), tuple(windows), empty, empty, empty)

    def update(self, forecast: Field, observed: Field) -> Self:
        """Add one forecast, shape (L, y, x), in physical units."""
        sums = np.array([self._of(frame) for frame in scored_frames(forecast, observed)])
        return self + type(self)(self.thresholds, self.windows, *np.moveaxis(sums, -1, 0))

    def _of(self, frame: ScoredFrame) -> Floats:
        """Three sums of one lead time, shape (T, S, 3)."""
        limits = np.array(self.thresholds)[:, np.newaxis, np.newaxis]
        events = [(field >= limits) & frame.valid for field in (frame.forecast, frame.observed)]
        sums = np.empty((len(self.thresholds), len(self.windows), 3))
        for place, window in enumerate(self.windows):
            ours, theirs = (_window_mean(event, window) for event in events)
            pairs = ((ours, ours), (theirs, theirs), (ours, theirs))
            sums[:, place] = np.stack([np.einsum("tyx,tyx->t", *pair) for pair in pairs], axis=-1)
        return sums


def _window_mean(events: NDArray[np.bool_], window: int) -> Floats:
    from scipy.ndimage import uniform_filter

    shares: Floats = events.astype(np.float64)
    if window > 1:
        shares = uniform_filter(shares, size=(1, window, window), mode="constant", cval=0.0)
    return shares
