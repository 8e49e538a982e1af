"""Samples of a watershed: a window of rain frames, one gauge, its series and what it will carry.

Shapes: b batch, t time steps (past and future), l lead times, y rows, x columns, s series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hvd_nowcast.hydrology.watershed import Watershed
from hvd_nowcast.loader.batches import NumberedSamples, Shape
from hvd_nowcast.loader.decoding import Decoder
from hvd_nowcast.loader.pipeline import WindowReader
from hvd_nowcast.loader.scaling import LinearScaling
from hvd_nowcast.shards.index import WindowIndex
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.reader import ReaderPool
from hvd_nowcast.shards.schema import Codes, Packing, Times

# Series of a gauge itself, before evaporation and inflows: scaled discharge, whether it is known.
GAUGE_SERIES = 2


@dataclass(frozen=True)
class FlowScaling:
    """Discharge to numbers a network likes, per gauge: ``z = (f(Q) - mean) / deviation``.

    Attributes
    ----------
    gauges
        Their names.
    transform
        f: ``none`` or ``square-root``.
    mean, deviation
        Of f(Q) over the training split, one per gauge.
    forcing_mean, forcing_deviation
        Of evaporation and of each inflow over the training split.
    persistence_error
        Root mean square error of persistence in the training split, in scaled discharge, one row
        per gauge, one number per lead time.
    rain
        Root mean square of the wet rain of the training split in mm h-1, which rain is divided by.
    """

    gauges: tuple[str, ...]
    transform: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    forcing_mean: tuple[float, ...]
    forcing_deviation: tuple[float, ...]
    persistence_error: tuple[tuple[float, ...], ...]
    rain: float

    def forward(self, discharge: NDArray[Any], gauge: Any = slice(None)) -> NDArray[np.float32]:
        """Scaled discharge of some gauges on the last axis; NaN stays NaN."""
        values = _transformed(self.transform, discharge)
        mean, deviation = (np.array(part)[gauge] for part in (self.mean, self.deviation))
        return ((values - mean) / deviation).astype(np.float32)

    def inverse(self, scaled: NDArray[Any], gauge: Any = slice(None)) -> NDArray[np.float64]:
        """Discharge in m3/s, never negative."""
        mean, deviation = (np.array(part)[gauge] for part in (self.mean, self.deviation))
        values = np.maximum(scaled * deviation + mean, 0.0)
        return values**2 if self.transform == "square-root" else values

    def forcing(self, watershed: Watershed) -> NDArray[np.float32]:
        """Scaled evaporation and inflows, the mean where missing, shape (t, 1 + inflows)."""
        values = _forcing(watershed)
        scaled = (values - np.array(self.forcing_mean)) / np.array(self.forcing_deviation)
        return np.nan_to_num(scaled).astype(np.float32)


def fit_flow_scaling(
    transform: str, watershed: Watershed, train: NDArray[np.bool_], leads: int, rain: float
) -> FlowScaling:
    """Fit on the times of the training split, which ``train`` tells, shape (t,)."""
    discharge = np.where(train[:, None], _transformed(transform, watershed.discharge), np.nan)
    mean, deviation = _moments(discharge[train])
    errors = persistence_error(discharge / np.array(deviation), leads)
    return FlowScaling(
        watershed.gauges,
        transform,
        mean,
        deviation,
        *_moments(_forcing(watershed)[train]),
        tuple(map(tuple, errors.tolist())),
        rain,
    )


def persistence_error(scaled: NDArray[np.floating[Any]], leads: int) -> NDArray[np.float32]:
    """Root mean square change of a discharge over each lead time, 1 where it never changes.

    Parameters
    ----------
    scaled
        Discharge of the training split, NaN where missing, shape (t, gauges).
    leads
        Number of lead times.

    Returns
    -------
    numpy.ndarray
        Shape (gauges, leads).
    """
    error = np.ones((scaled.shape[1], leads), np.float32)
    for lead in range(1, min(leads, len(scaled) - 1) + 1):
        square = np.square(scaled[lead:] - scaled[:-lead], dtype=np.float64)
        known = np.isfinite(square)
        mean = np.divide(
            np.where(known, square, 0.0).sum(0),
            known.sum(0),
            out=np.ones(square.shape[1]),
            where=known.any(0),
        )
        error[:, lead - 1] = np.sqrt(np.where(mean > 0, mean, 1.0))
    return error


def _moments(values: NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, deviation = (f(values.astype(np.float64), 0) for f in (np.nanmean, np.nanstd))
    return tuple(mean.tolist()), tuple(np.where(deviation > 0, deviation, 1.0).tolist())


def _forcing(watershed: Watershed) -> NDArray[np.float32]:
    pet = watershed.pet if watershed.pet.size else np.zeros(len(watershed.times), np.float32)
    return np.concatenate([pet[:, None], watershed.inflow], 1)


def _transformed(transform: str, discharge: NDArray[Any]) -> NDArray[Any]:
    return np.sqrt(discharge) if transform == "square-root" else discharge


class WatershedSamples:
    """Cuts samples out of the series of a watershed.

    Parameters
    ----------
    watershed
        With the gauges that are wanted.
    scaling
        Of the discharge.
    steps_in, steps_out
        Past steps and lead times.
    """

    def __init__(
        self,
        watershed: Watershed,
        scaling: FlowScaling,
        steps_in: int,
        steps_out: int,
    ) -> None:
        self._times = watershed.times
        self._in, self.leads = steps_in, steps_out
        self.steps = steps_in + steps_out
        self.discharge = scaling.forward(watershed.discharge)
        self._forcing = scaling.forcing(watershed)
        self.series_count = GAUGE_SERIES + self._forcing.shape[1]

    def place(self, start_time: np.datetime64) -> int:
        """Index of the newest known step of a window in the series."""
        return int(np.searchsorted(self._times, start_time))

    def series(self, place: int, gauge: int) -> NDArray[np.float32]:
        """What is known at a time: past series, then zeros, shape (t, s)."""
        past = slice(place - self._in + 1, place + 1)
        flow = self.discharge[past, gauge]
        known = np.isfinite(flow)
        columns = [np.where(known, flow, 0.0), known, *self._forcing[past].T]
        series = np.zeros((self.steps, self.series_count), np.float32)
        series[: self._in] = np.stack(columns, 1)
        return series

    def target(self, place: int, gauge: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scaled discharge to come and whether it is known, both (l,)."""
        coming = self.discharge[place + 1 : place + 1 + self.leads, gauge]
        known = np.isfinite(coming)
        return np.where(known, coming, 0.0).astype(np.float32), known.astype(np.float32)


class RainRecord:
    """Stored rain of a watershed by its place in the series, across shards.

    Parameters
    ----------
    manifest
        Where the frames lie.
    pool
        Open shards.
    times
        Of the series, shape (t,).
    """

    def __init__(self, manifest: Manifest, pool: ReaderPool, times: Times) -> None:
        self._shape = manifest.grid.shape
        self._packing = manifest.packing
        self._pool = pool
        self._frame: dict[int, tuple[str, int]] = {}
        for entry in manifest.shards:
            for segment in entry.segments:
                first = int(np.searchsorted(times, np.datetime64(segment.first_time, "s")))
                for number in range(segment.frames):
                    self._frame[first + number] = (entry.file, segment.start + number)

    def has(self, places: range) -> NDArray[np.bool_]:
        """Whether there is a frame at each place."""
        return np.array([place in self._frame for place in places], bool)

    def codes(self, places: range) -> Codes:
        """Frames at some places, all missing where there is none, shape (t, y, x)."""
        codes = np.full((len(places), *self._shape), self._packing.fill, self._packing.dtype)
        for number, place in enumerate(places):
            if place in self._frame:
                file, frame = self._frame[place]
                codes[number] = self._pool.read_codes(file, frame, frame + 1)[0]
        return codes


class FloodSamples(NumberedSamples):
    """Pairs of window and gauge.

    A batch is a dictionary of ``rain`` (stored codes (b, t, y, x)), ``gauge`` (b,), ``series``
    (b, t, s), ``target`` and ``weight`` (b, l).

    Parameters
    ----------
    samples
        Series and targets.
    reader
        Rain frames of the windows.
    packing
        How codes are stored.
    grid_shape
        Rows and columns.
    gauges
        Numbers of the gauges that are taken; all when None.
    """

    def __init__(
        self,
        samples: WatershedSamples,
        reader: WindowReader[WindowIndex],
        packing: Packing,
        grid_shape: tuple[int, int],
        gauges: Sequence[int] | None = None,
    ) -> None:
        self._samples = samples
        self._reader = reader
        self._packing = packing
        self._shape = grid_shape
        index = reader.index
        self.places = np.array([samples.place(index.start_time(w)) for w in range(len(index))])
        taken = range(samples.discharge.shape[1]) if gauges is None else gauges
        pairs = [(w, g) for w in range(len(index)) for g in taken]
        # A window without anything to compare with teaches nothing.
        self.pairs = [(w, g) for w, g in pairs if samples.target(self.places[w], g)[1].any()]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.pairs)

    def sample(self, number: int, seed: tuple[int, ...] | None = None) -> dict[str, Any]:
        """One window and gauge, which training does not change."""
        window, gauge = self.pairs[number]
        place = self.places[window]
        target, weight = self._samples.target(place, gauge)
        return {
            "rain": self._reader.read(window),
            "gauge": np.int32(gauge),
            "series": self._samples.series(place, gauge),
            "target": target,
            "weight": weight,
        }

    def describe_sample(self, number: int) -> str:
        """Time and gauge of a sample."""
        window, gauge = self.pairs[number]
        return f"{self._reader.index.start_time(window)} gauge {gauge}"

    def shapes(self) -> Mapping[str, Shape]:
        """Rain, gauge, series and what they will carry."""
        samples = self._samples
        steps, leads = samples.steps, (samples.leads,)
        return {
            "rain": ((steps, *self._shape), self._packing.dtype),
            "gauge": ((), tf.int32),
            "series": ((steps, samples.series_count), tf.float32),
            "target": (leads, tf.float32),
            "weight": (leads, tf.float32),
        }


class RainDecoder:
    """Stored codes to scaled rain, where missing pixels take the mean of a gauge's known ones.

    Parameters
    ----------
    packing
        How codes are decoded.
    rain
        What the rain rate is divided by, mm h-1.
    weight
        Contribution of the pixels, shape (gauges, y, x).
    steps_in
        Past steps; with ``future_rain`` false the steps after them are dry.
    future_rain
        Whether the rain of the lead times may be used.
    """

    def __init__(
        self,
        packing: Packing,
        rain: float,
        weight: NDArray[np.float32],
        steps_in: int,
        future_rain: bool,
    ) -> None:
        self._decode = Decoder(packing, LinearScaling(rain))
        self._weight = weight
        self._steps_in = steps_in
        self._future_rain = future_rain

    def __call__(self, codes: tf.Tensor, gauge: tf.Tensor) -> tf.Tensor:
        """Codes (b, t, y, x) and gauge (b,) to rain (b, t, y, x)."""
        rain, valid = self._decode(codes)
        share = tf.gather(tf.constant(self._weight), gauge)[:, None] * valid
        mean = tf.math.divide_no_nan(
            tf.reduce_sum(share * rain, (2, 3), True), tf.reduce_sum(share, (2, 3), True)
        )
        rain = rain + (1.0 - valid) * mean
        if self._future_rain:
            return rain
        known = tf.cast(tf.range(tf.shape(rain)[1]) < self._steps_in, rain.dtype)
        return rain * known[:, None, None]
