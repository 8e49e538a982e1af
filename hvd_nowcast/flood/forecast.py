"""From a trained flood run and the newest record of a watershed to its discharge ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast import console
from hvd_nowcast.errors import ConfigError, InputError
from hvd_nowcast.flood.predictor import FloodPredictor
from hvd_nowcast.flood.rain_ahead import RainAhead, read_rain_ahead
from hvd_nowcast.hydrology.discharge import DischargeForecast
from hvd_nowcast.reference_time import parse_reference_time
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.convert import open_source
from hvd_nowcast.shards.manifest import MANIFEST, shard_path
from hvd_nowcast.shards.reader import ShardReader
from hvd_nowcast.shards.split import SplitRule
from hvd_nowcast.training.flood import FloodData
from hvd_nowcast.verification.windows import at_multiples

Array = NDArray[np.float64]


def make_flood_forecast(
    run: Path,
    inputs: Sequence[Path],
    rain: Sequence[Path] = (),
    reference_time: str | None = None,
    load: Callable[[Path, Path], FloodPredictor] = FloodPredictor.load,
) -> DischargeForecast:
    """Forecast the discharge of a watershed.

    Parameters
    ----------
    run
        A trained flood run.
    inputs
        The newest files of its watershed, as given to ``shards build``, or a folder of shards.
    rain
        Nowcast or other forecast of the rain ahead; without it, what the inputs hold.
    reference_time
        ISO time of the newest step to use; the newest with a discharge when None.
    load
        Opens the run with the shards of the inputs.

    Raises
    ------
    InputError
        When the inputs do not give the steps the model needs, or the rain does not fit them.
    ConfigError
        When the time cannot be read, or rain is given to a model that takes none.
    """
    with open_watershed(run, inputs, load) as predictor:
        return discharge_from(predictor, inputs[0], rain, reference_time)


@contextmanager
def open_watershed(
    run: Path,
    inputs: Sequence[Path],
    load: Callable[[Path, Path], FloodPredictor] = FloodPredictor.load,
) -> Iterator[FloodPredictor]:
    """A trained flood run with the newest record of its watershed.

    Parameters
    ----------
    run, inputs, load
        See `make_flood_forecast`.
    """
    with _shards_of(inputs) as folder:
        predictor = load(run, folder)
        try:
            yield predictor
        finally:
            predictor.data.pool.close()


@contextmanager
def _shards_of(inputs: Sequence[Path]) -> Iterator[Path]:
    if len(inputs) == 1 and (inputs[0] / MANIFEST).is_file():
        yield inputs[0]
        return
    with TemporaryDirectory(prefix="hvd-nowcast-") as folder:
        source = open_source(inputs, format="watershed")
        build_shards(source, Path(folder) / "shards", SplitRule(fractions={"test": 1.0}))
        yield Path(folder) / "shards"


def discharge_from(
    predictor: FloodPredictor,
    path: Path,
    rain: Sequence[Path] = (),
    reference_time: str | None = None,
) -> DischargeForecast:
    """Forecast the discharge of an open watershed.

    Parameters
    ----------
    predictor
        The model with its watershed.
    path
        Where the watershed came from, for messages.
    rain, reference_time
        See `make_flood_forecast`.

    Raises
    ------
    InputError, ConfigError
        See `make_flood_forecast`.
    """
    data, leads = predictor.data, predictor.config.data.frames_out
    steps_in = predictor.config.data.frames_in
    place = choose_place(data, steps_in, path, reference_time)
    past, ahead = range(place - steps_in + 1, place + 1), range(place + 1, place + 1 + leads)
    step = data.manifest.step_seconds
    future = _rain_ahead(predictor, rain, place, ahead)
    codes = np.concatenate([data.rain.codes(past), _encoded(data, future)])
    gauges = np.arange(len(data.watershed.gauges), dtype=np.int32)
    batch = {
        "rain": np.repeat(codes[None], len(gauges), 0),
        "gauge": gauges,
        "series": np.stack([data.samples.series(place, int(gauge)) for gauge in gauges]),
    }
    discharge = predictor.predict(batch).transpose(1, 0, 2)
    observed = data.watershed.discharge[past.start : past.stop].astype(np.float64)
    silent = ~np.isfinite(observed).any(0)
    if silent.any():
        names = ", ".join(np.array(data.watershed.gauges)[silent])
        console.warn(f"no forecast for gauge {names}: it has no discharge in the past steps")
        discharge[:, silent] = np.nan
    times = data.watershed.times[past.start] + np.timedelta64(step, "s") * np.arange(
        steps_in + leads
    )
    return DischargeForecast(
        data.watershed.gauges,
        times,
        steps_in,
        observed,
        discharge,
        predictor.quantiles,
        _area_means(predictor, batch),
        future.known_hours,
        predictor.fingerprint,
    )


def possible_places(data: FloodData, steps_in: int, every_minutes: int) -> list[int]:
    """Places in the series that a forecast can start from, at multiples of some minutes.

    A place has a discharge, and rain before it.

    Raises
    ------
    ConfigError
        When the number of minutes is not positive.
    """
    times, step = data.watershed.times, data.manifest.step_seconds
    known = np.isfinite(data.watershed.discharge).any(1) & at_multiples(times, every_minutes, step)
    wet = data.rain.has(range(len(times)))
    first = steps_in - 1
    return [n for n in np.flatnonzero(known) if n >= first and wet[n - first : n + 1].all()]


def choose_place(
    data: FloodData, steps_in: int, path: Path, reference_time: str | None = None
) -> int:
    """Place in the series of the newest step to use.

    Raises
    ------
    ConfigError
        When the time cannot be read.
    InputError
        When there is no such step, or no rain before it.
    """
    times = data.watershed.times
    place = _newest_known(data, path) if reference_time is None else _place(times, reference_time)
    if place is None:
        raise InputError(
            path,
            f"has no time step {reference_time}",
            f"It holds {times[0]} to {times[-1]}: choose another --time",
        )
    wanted = range(place - steps_in + 1, place + 1)
    lacking = np.array(wanted)[~data.rain.has(wanted)]
    if lacking.size:
        step = np.timedelta64(data.manifest.step_seconds, "s")
        missing = ", ".join(map(str, times[place] + (lacking[:5] - place) * step))
        raise InputError(
            path,
            f"the model needs {steps_in} steps of rain up to {times[place]}, but {len(lacking)} "
            f"are missing: {missing}",
            "Give a longer record, or another --time",
        )
    return place


def _newest_known(data: FloodData, path: Path) -> int:
    known = np.flatnonzero(np.isfinite(data.watershed.discharge).any(1))
    if not known.size:
        raise InputError(path, "has no discharge", "Give the newest measurements of a gauge")
    return int(known[-1])


def _place(times: NDArray[np.datetime64], reference_time: str) -> int | None:
    found = np.flatnonzero(times == parse_reference_time(reference_time))
    return int(found[0]) if found.size else None


def _rain_ahead(
    predictor: FloodPredictor, rain: Sequence[Path], place: int, ahead: range
) -> RainAhead:
    data = predictor.data
    shape = data.manifest.grid.shape
    hours = data.manifest.step_seconds / 3600.0
    if not predictor.config.data.future_rain:
        if rain:
            raise ConfigError(
                "--rain: this model was trained without the rain ahead (data.future_rain: false)"
            )
        return RainAhead(np.zeros((len(ahead), *shape)), np.zeros(len(ahead)))
    if rain:
        step = data.manifest.step_seconds
        first = data.watershed.times[place] + np.timedelta64(step, "s")
        with ShardReader(shard_path(data.folder, data.manifest.shards[0].file)) as reader:
            grid = reader.header.grid
        found = read_rain_ahead(rain, grid, first, step, len(ahead))
    else:
        there = data.rain.has(ahead)
        rate = data.manifest.packing.table().astype(np.float64)[data.rain.codes(ahead)]
        found = RainAhead(np.where(there[:, None, None], rate, 0.0), hours * there)
    known, wanted = found.known_hours.sum(), hours * len(ahead)
    if known < wanted:
        console.warn(
            f"the rain of {known:g} of the {wanted:g} hours ahead is known, the rest is taken as "
            "dry"
        )
    return found


def _encoded(data: FloodData, future: RainAhead) -> NDArray[np.unsignedinteger[Any]]:
    packing = data.manifest.packing
    largest = packing.table()[np.arange(packing.fill)].max()
    return packing.encode(np.minimum(future.rate, largest))


def _area_means(predictor: FloodPredictor, batch: dict[str, Any]) -> Array:
    """Mean rain rate over each gauge's area, shape (t, gauges)."""
    data = predictor.data
    rain = data.decode(batch["rain"], batch["gauge"]).numpy() * data.scaling.rain
    share = data.maps.weight / data.maps.weight.sum((1, 2), keepdims=True)
    mean: Array = np.einsum("gtyx,gyx->tg", rain, share)
    return mean
