"""A signal only sets a flag; the loop saves and leaves at the next step."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

from hvd_nowcast.parallel.launcher import STOP_SIGNALS


class InterruptFlag:
    """While entered, remembers SIGTERM, SIGUSR1 and Ctrl-C instead of dying of them.

    A second Ctrl-C ends the program at once, for people who do not want to wait.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> InterruptFlag:
        """Take the signals over."""
        self._previous = {number: signal.signal(number, self._remember) for number in STOP_SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def raised(self) -> bool:
        """Whether a signal came."""
        return self.signal is not None

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
