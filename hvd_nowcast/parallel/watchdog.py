"""Notices that a rank makes no progress, shows where it is stuck, and ends the job."""

from __future__ import annotations

import faulthandler
import threading
import time
from collections.abc import Callable
from types import TracebackType

from hvd_nowcast.errors import StallError

CHECKS_PER_LIMIT = 8


class Watchdog:
    """While entered, a thread that acts when one activity takes too long.

    A rank that is stuck makes all others wait in the next collective. So an activity that depends
    on other ranks may take longer by half, and the rank with the cause speaks first.

    Parameters
    ----------
    seconds
        Longest time for one activity.
    end
        Called with a `StallError`; it ends the process.
    """

    def __init__(self, seconds: float, end: Callable[[StallError], object]) -> None:
        self._seconds = seconds
        self._end = end
        self._activity = ("starting", False, time.monotonic())
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def doing(self, what: str, together: bool = False) -> None:
        """Say what begins now.

        Parameters
        ----------
        what
            Activity, for the message.
        together
            Whether it waits for other ranks.
        """
        self._activity = (what, together, time.monotonic())

    def __enter__(self) -> Watchdog:
        """Start watching."""
        self.doing("starting")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop watching."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(self._seconds / CHECKS_PER_LIMIT):
            what, together, since = self._activity
            limit = self._seconds * (1.5 if together else 1.0)
            if time.monotonic() - since > limit:
                faulthandler.dump_traceback(all_threads=True)
                self._end(
                    StallError(
                        f"no progress for {limit:.0f} s while {what}; the stacks are above. Look "
                        "for a hanging file system or node, or raise training.stall_minutes"
                    )
                )
                return
