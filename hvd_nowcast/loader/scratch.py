"""A file for what is dear to make and cheap to read again."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Part of the limit where the file would lie in memory, of which a batch job has its share only.
MEMORY_PART = 16
# Part of the free space that all ranks of a machine take together, as each leaves the rest.
FREE_PART = 4
MOUNTS = Path("/proc/self/mountinfo")

Array = NDArray[Any]


class ScratchFile:
    """Arrays in a file without a name in ``$TMPDIR``, else ``/tmp``; it is gone with the process.

    Memory does not grow with what is kept. The file takes at most its limit and never more than a
    quarter of the space that was free when it was made, counting what others wrote since. Where
    ``$TMPDIR`` lies in memory (tmpfs), or nobody can say, it takes a sixteenth of its limit. When
    there is no space, or no such folder, nothing more is kept: that is slower, but no error.

    Threads may share it. A process forked from this one finds nothing in it and keeps nothing.

    Parameters
    ----------
    limit
        Bytes on a disk.
    """

    def __init__(self, limit: int) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._kept = 0
        try:
            with tempfile.TemporaryFile() as file:
                self._file = os.dup(file.fileno())
        except OSError:
            self._file, self._limit = -1, 0
            return
        # Not at exit: a thread that still reads ahead would find another file under its number.
        weakref.finalize(self, os.close, self._file).atexit = False
        self._limit = limit // MEMORY_PART if lies_in_memory(tempfile.gettempdir()) else limit
        self._least_free = self._free() * (FREE_PART - 1) // FREE_PART

    def keep(self, array: Array, place: int | None = None) -> int | None:
        """Where an array lies from now on, or None when there is no room for it.

        Parameters
        ----------
        array
            Contiguous, of any shape and type.
        place
            Where it shall lie, any number of bytes from the beginning: what is left out takes no
            space. Behind all others when None; a file has arrays of one kind or the other.
        """
        with self._lock:
            if not self._has_room(array.nbytes):
                return None
            place = self._kept if place is None else place
            try:
                written = os.pwrite(self._file, array.data, place)
            except OSError:
                written = 0
            if written < array.nbytes:
                # A full disk, or a quota: no use in trying again for every frame.
                self._limit = 0
                return None
            self._kept += array.nbytes
            return place

    def read(self, place: int, shape: tuple[int, ...], dtype: DTypeLike) -> Array | None:
        """The array that was kept at a place, not to be written to; None when it cannot be read.

        The file is mapped, so only what is looked at is read, and memory holds it as long as the
        array lives. A disk that fails meanwhile ends the process (SIGBUS).
        """
        if self._process != os.getpid():
            return None
        before = place % mmap.ALLOCATIONGRANULARITY
        size = before + math.prod(shape) * np.dtype(dtype).itemsize
        try:
            mapped = mmap.mmap(self._file, size, prot=mmap.PROT_READ, offset=place - before)
        except (OSError, ValueError):
            return None
        return np.frombuffer(mapped, dtype, math.prod(shape), before).reshape(shape)

    def _has_room(self, size: int) -> bool:
        return (
            self._process == os.getpid()
            and self._kept + size <= self._limit
            and self._free() - size >= self._least_free
        )

    def _free(self) -> int:
        space = os.fstatvfs(self._file)
        return space.f_bavail * space.f_frsize


def lies_in_memory(folder: str) -> bool:
    """Whether the file system of a folder takes memory; also where that cannot be found out."""
    device = Path(folder).stat().st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = [line.split() for line in MOUNTS.read_text().splitlines()]
    except OSError:
        return True
    # proc_pid_mountinfo(5): the type follows a dash that ends fields of any number.
    kinds = {line[line.index("-") + 1] for line in lines if line[2] == name}
    return not kinds or bool(kinds & {"tmpfs", "ramfs"})
