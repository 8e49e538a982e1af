"""A folder that frames arrive in: which of its files are whole, and which times they hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hvd_nowcast import console
from hvd_nowcast.errors import InputError
from hvd_nowcast.shards.convert import open_source

# Names of files that are still being sent.
UNFINISHED = (".part", ".tmp", ".filepart", ".crdownload")
# Of a folder that holds an archive only so many of the newest files are opened at the start.
NEWEST_FILES = 200


class _Stamp(NamedTuple):
    """Tells whether a file changed."""

    size: int
    modified: int


class Inbox:
    """Frames of one format in a folder, each file opened once unless it changes.

    A file counts when its size and time are the same at two looks, because senders write in place.

    Parameters
    ----------
    folder
        Where the files arrive; it may appear later.
    format, variable, relation
        See `hvd_nowcast.shards.convert.open_source`.

    Attributes
    ----------
    bad
        Names of files that cannot be used, and why.
    how
        The three settings, for whoever opens the files again.
    """

    def __init__(
        self,
        folder: Path,
        format: str | None = None,
        variable: str | None = None,
        relation: str | None = None,
    ) -> None:
        self.bad: dict[str, str] = {}
        self._folder = folder
        self.how = (format, variable, relation)
        self._seen: dict[str, _Stamp] = {}
        self._known: dict[str, _Stamp] = {}
        self._times: dict[str, list[np.datetime64]] = {}

    def look(self) -> bool:
        """Look for files that came, changed or went.

        Returns
        -------
        bool
            Whether the frames are others than at the last look.
        """
        stamps = dict(sorted(self._stamps(), key=lambda item: item[1].modified)[-NEWEST_FILES:])
        settled = {name for name, stamp in stamps.items() if self._seen.get(name) == stamp}
        self._seen = stamps
        gone = [name for name in self._known if name not in stamps]
        for name in gone:
            self._forget(name)
        new = [name for name in sorted(settled) if self._known.get(name) != stamps[name]]
        for name in new:
            self._forget(name)
            self._known[name] = stamps[name]
            self._open(name)
        return bool(gone or new)

    def frames(self) -> dict[np.datetime64, Path]:
        """File of each frame; of two with the same frame the later name."""
        return {
            time: self._folder / name for name in sorted(self._times) for time in self._times[name]
        }

    def reject(self, path: Path, reason: str) -> None:
        """Leave a file out that turned out to be of no use, until it changes."""
        self._times.pop(path.name, None)
        self._note(path.name, reason)

    def _stamps(self) -> Iterator[tuple[str, _Stamp]]:
        try:
            entries = list(os.scandir(self._folder))
        except OSError:
            return  # Not there yet, or a network disk that will come back.
        for entry in entries:
            if entry.name.startswith(".") or entry.name.endswith(UNFINISHED):
                continue
            try:
                if entry.is_file():
                    facts = entry.stat()
                    yield entry.name, _Stamp(facts.st_size, facts.st_mtime_ns)
            except OSError:
                continue  # Taken away since the folder was read.

    def _open(self, name: str) -> None:
        try:
            source = open_source([self._folder / name], *self.how)
        except InputError as problem:
            self._note(name, str(problem))
            return
        self._times[name] = list(source.times.astype("datetime64[s]"))

    def _note(self, name: str, reason: str) -> None:
        if self.bad.get(name) != reason:
            console.warn(f"left out: {reason}")
        self.bad[name] = reason

    def _forget(self, name: str) -> None:
        self._known.pop(name, None)
        self._times.pop(name, None)
        self.bad.pop(name, None)
