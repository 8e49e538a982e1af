"""A rolling nowcast: new frames in a folder, a forecast of each within seconds.

What was done is read from the folders alone, so a restart goes on where the last process ended.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from hvd_nowcast import console
from hvd_nowcast.errors import HvdNowcastError, InputError, Interrupted
from hvd_nowcast.nowcast.forecast import make_forecast
from hvd_nowcast.nowcast.inbox import Inbox
from hvd_nowcast.nowcast.model import NowcastModel
from hvd_nowcast.reference_time import time_stamp
from hvd_nowcast.shards.writer import atomic_output, output_error
from hvd_nowcast.training.interrupt import InterruptFlag

LOOK_SECONDS = 0.5
HEALTH = "health.json"
# A monitor may take a health file as dead that is a minute old.
HEARTBEAT_SECONDS = 10.0
# A frame may be late by this share of a step before its neighbours take its place.
PATIENCE = 0.5
_OURS = re.compile(r"forecast_(\d{8}T\d{6})\.nc")


class RollingNowcast:
    """Turns what arrives in a folder into forecasts in another.

    Parameters
    ----------
    predictor
        The model, which stays in memory.
    inbox
        Where frames arrive.
    out
        Folder of the forecasts and of ``health.json``.
    keep_hours
        Forecasts that start so long before the newest are removed.

    Raises
    ------
    OutputError
        When the folder cannot be made.
    """

    def __init__(
        self, predictor: NowcastModel, inbox: Inbox, out: Path, keep_hours: float = 24.0
    ) -> None:
        self._predictor = predictor
        self._inbox = inbox
        self._out = out
        self._keep = np.timedelta64(round(keep_hours * 3600), "s")
        self._newest_since: tuple[np.datetime64 | None, float] = (None, 0.0)
        self._final: np.datetime64 | None = None
        self._problem = ""
        self._seconds: float | None = None
        self._healthy_until = 0.0
        self._last_health: dict[str, Any] = {}
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise output_error(out, problem) from problem

    def turn(self, now: float) -> str | None:
        """Look once, and forecast if there is something new.

        Parameters
        ----------
        now
            Seconds of a clock that never goes back.

        Returns
        -------
        str or None
            What was forecast, for people.
        """
        self._inbox.look()
        frames = self._inbox.frames()
        start, filled = self._choose(sorted(frames), now)
        said = None
        if start is not None:
            said = self._forecast(start, filled, frames)
            self._prune()
        self._write_health(frames, now)
        return said

    def _choose(
        self, times: Sequence[np.datetime64], now: float
    ) -> tuple[np.datetime64 | None, list[np.datetime64]]:
        """Newest start that can be forecast and is not, and the frames to be filled for it."""
        done = self._done()
        there = set(times)
        if times and self._newest_since[0] != times[-1]:
            self._newest_since = (times[-1], now)
        for start in reversed(times):
            if done and start < done[-1]:
                break
            if done and start == done[-1] and self._is_final(start):
                break
            gaps = [wanted for wanted in self._wanted(start) if wanted not in there]
            if not gaps:
                return start, []
            patient = now - self._newest_since[1] < PATIENCE * self._predictor.step_seconds
            known = start in done
            if start == times[-1] and not patient and not known and self._can_fill(gaps, there):
                return start, gaps
        return None, []

    def _is_final(self, start: np.datetime64) -> bool:
        """Whether a forecast was made without a gap; looked up once, not at every turn."""
        if self._final != start and not _is_filled(self._path(start)):
            self._final = start
        return self._final == start

    def _can_fill(self, gaps: Sequence[np.datetime64], there: set[np.datetime64]) -> bool:
        """Whether each missing frame stands alone between two that came."""
        step = self._step
        return all(gap - step in there and gap + step in there for gap in gaps)

    def _forecast(
        self,
        start: np.datetime64,
        filled: Sequence[np.datetime64],
        frames: dict[np.datetime64, Path],
    ) -> str | None:
        used = {frames[wanted] for wanted in self._wanted(start) if wanted in frames}
        used |= {frames[gap - self._step] for gap in filled}
        self._final = None
        began = time.monotonic()
        try:
            summary = make_forecast(
                self._predictor,
                sorted(used),
                self._path(start),
                *self._inbox.how,
                reference_time=str(start),
                fill=bool(filled),
            )
        except InputError as problem:
            path = Path(problem.path)
            self._inbox.reject(path if path in used else frames[start], str(problem))
            return None
        except HvdNowcastError as problem:
            self._complain(str(problem))
            return None
        self._seconds = time.monotonic() - began
        self._problem = ""
        note = f", filled {', '.join(map(str, filled))}" if filled else ""
        return f"{summary}, in {self._seconds:.1f} s{note}"

    def _complain(self, problem: str) -> None:
        # Tried again at every turn, told once.
        if problem != self._problem:
            console.warn(problem)
        self._problem = problem

    def _prune(self) -> None:
        done = self._done()
        for start in done:
            if start < done[-1] - self._keep:
                self._path(start).unlink(missing_ok=True)

    def _wanted(self, start: np.datetime64) -> list[np.datetime64]:
        count = self._predictor.frames_in
        return [start - self._step * back for back in range(count - 1, -1, -1)]

    @property
    def _step(self) -> np.timedelta64:
        return np.timedelta64(self._predictor.step_seconds, "s")

    def _path(self, start: np.datetime64) -> Path:
        return self._out / f"forecast_{time_stamp(start)}.nc"

    def _done(self) -> list[np.datetime64]:
        """Starts of the forecasts that lie in the folder, in their order."""
        found = filter(None, (_OURS.fullmatch(path.name) for path in self._out.iterdir()))
        return sorted(_time_of(match.group(1)) for match in found)

    def _write_health(self, frames: dict[np.datetime64, Path], now: float) -> None:
        health = self._health(frames)
        if health == self._last_health and now < self._healthy_until:
            return
        self._last_health, self._healthy_until = health, now + HEARTBEAT_SECONDS
        stamp = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        content = {"written": stamp, "host": socket.gethostname(), "process": os.getpid(), **health}
        try:
            with atomic_output(self._out / HEALTH) as aside:
                aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        except HvdNowcastError as problem:
            self._complain(str(problem))

    def _health(self, frames: dict[np.datetime64, Path]) -> dict[str, Any]:
        done = self._done()
        newest = max(frames, default=None)
        missing = [t for t in self._wanted(newest) if t not in frames] if newest is not None else []
        waiting = newest is None or not done or done[-1] < newest
        return {
            "state": "error" if self._problem else "waiting for frames" if waiting else "ok",
            "problem": self._problem,
            "newest_frame": None if newest is None else str(newest),
            "newest_forecast": str(done[-1]) if done else None,
            "forecasts": len(done),
            "missing_frames": [str(time) for time in missing],
            "files_left_out": dict(self._inbox.bad),
            "seconds_of_the_last_forecast": self._seconds,
        }


def watch(rolling: RollingNowcast) -> None:
    """Look and forecast until a signal comes.

    Raises
    ------
    Interrupted
        After SIGUSR1, by which a batch job says that it wants to be run again. SIGTERM and Ctrl-C
        end well.
    """
    with InterruptFlag() as flag:
        while not flag.raised:
            said = rolling.turn(time.monotonic())
            if said:
                console.say(said)
            time.sleep(LOOK_SECONDS)
    if flag.signal is not None and flag.signal.name == "SIGUSR1":
        raise Interrupted("stopped by SIGUSR1; the same command goes on")


def _is_filled(path: Path) -> bool:
    """Whether a forecast was made with a frame missing, so that a late one betters it."""
    try:
        with netCDF4.Dataset(path) as dataset:
            return bool(dataset.filled_frames)
    except (OSError, AttributeError):
        return False


def _time_of(stamp: str) -> np.datetime64:
    return np.datetime64(datetime.strptime(stamp, "%Y%m%dT%H%M%S"), "s")
