"""An archive of radar frames: one forecast file for each reference time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hvd_nowcast.errors import InputError
from hvd_nowcast.nowcast.forecast import fit_to, forecast_from, possible_starts
from hvd_nowcast.nowcast.model import NowcastModel
from hvd_nowcast.nowcast.predictor import Predictor
from hvd_nowcast.shards.convert import open_source
from hvd_nowcast.shards.convert.source import FrameSource
from hvd_nowcast.spark.plan import Request, forecast_names


class ArchiveWork:
    """A nowcast model with its archive.

    Parameters
    ----------
    predictor
        The model, fitted to the frames.
    source
        Frames of the archive.
    times
        Reference time of each result file.
    """

    def __init__(self, predictor: NowcastModel, source: FrameSource, times: dict[str, str]) -> None:
        self.weights = predictor.fingerprint
        self.pieces = tuple(times)
        self._predictor = predictor
        self._source = source
        self._times = times

    def compute(self, piece: str, path: Path) -> None:
        """Write the forecast of one reference time."""
        forecast_from(self._predictor, self._source, path, self._times[piece])

    def join(self, out: Path) -> str:
        """Nothing to join: each forecast is a file of its own."""
        times = list(self._times.values())
        return f"{out}: {len(times)} forecasts, {times[0]} to {times[-1]} UTC"


@contextmanager
def open_archive_work(run: Path, request: Request) -> Iterator[ArchiveWork]:
    """Open a nowcast run and an archive.

    Raises
    ------
    InputError
        When the archive does not fit the model, or holds no start.
    """
    source = open_source(request.inputs)
    predictor = fit_to(Predictor.load(run), source)
    starts = possible_starts(predictor, source, request.every_minutes)
    if not starts:
        raise InputError(
            request.inputs[0],
            f"holds no {predictor.frames_in} frames in a row up to a multiple of "
            f"{request.every_minutes} minutes",
            "Give a longer archive, or another --every",
        )
    yield ArchiveWork(predictor, source, forecast_names(starts))
