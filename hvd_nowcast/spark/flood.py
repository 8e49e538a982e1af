"""A record of a watershed: one discharge forecast for each reference time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hvd_nowcast.errors import InputError
from hvd_nowcast.flood.discharge_file import write_discharge
from hvd_nowcast.flood.forecast import discharge_from, open_watershed, possible_places
from hvd_nowcast.flood.predictor import FloodPredictor
from hvd_nowcast.shards.manifest import MANIFEST
from hvd_nowcast.spark.plan import Request, forecast_names


class FloodWork:
    """A flood model with its watershed.

    Parameters
    ----------
    predictor
        The model with the watershed.
    folder
        Shards of the watershed.
    times
        Reference time of each result file.
    """

    def __init__(self, predictor: FloodPredictor, folder: Path, times: dict[str, str]) -> None:
        self.weights = predictor.fingerprint
        self.pieces = tuple(times)
        self._predictor = predictor
        self._folder = folder
        self._times = times

    def compute(self, piece: str, path: Path) -> None:
        """Write the forecast of all gauges from one reference time."""
        time = self._times[piece]
        write_discharge(path, discharge_from(self._predictor, self._folder, (), time))

    def join(self, out: Path) -> str:
        """Nothing to join: each forecast is a file of its own."""
        times = list(self._times.values())
        return f"{out}: {len(times)} forecasts, {times[0]} to {times[-1]} UTC"


@contextmanager
def open_flood_work(run: Path, request: Request) -> Iterator[FloodWork]:
    """Open a flood run and the shards of its watershed.

    Raises
    ------
    InputError
        When there are no shards, or no step to start from.
    """
    folder = request.inputs[0]
    if len(request.inputs) > 1 or not (folder / MANIFEST).is_file():
        raise InputError(
            folder,
            "expected the folder of shards of a watershed",
            "Build it once for all executors: hvd-nowcast shards build --format watershed",
        )
    with open_watershed(run, request.inputs) as predictor:
        steps_in = predictor.config.data.frames_in
        places = possible_places(predictor.data, steps_in, request.every_minutes)
        if not places:
            raise InputError(
                folder, f"has no {steps_in} steps of rain up to a discharge", "Give a longer record"
            )
        times = predictor.data.watershed.times
        yield FloodWork(predictor, folder, forecast_names([times[place] for place in places]))
