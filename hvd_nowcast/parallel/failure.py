"""How a job of many ranks ends badly: one message, no rank left behind, a documented status.

An error that all ranks know of (`JobError`) is told by rank 0, and all leave in order. An error
that one rank meets alone ends the others, who sit in a collective and would wait for ever. When
several ranks fail at once, the first to create the claim file speaks, and the others keep quiet.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from hvd_nowcast import console
from hvd_nowcast.errors import HvdNowcastError, Interrupted, JobError
from hvd_nowcast.parallel.communicator import Communicator, SingleProcess, describe_rank
from hvd_nowcast.parallel.launcher import Launch

CLAIM = "failure.json"
# What Horovod and MPI say on the ranks that another rank left alone.
SECONDARY = ("Horovod has been shut down", "HorovodInternalError", "HorovodGroupedAllreduce")
# Long enough for the rank with the cause to speak and to end this one.
PATIENCE_SECONDS = 10.0
# mpirun may print its own notice of the abort before a line written just before it, and ends
# that notice with a stray byte, which would stand in front of our message.
SPEAKING_SECONDS = 0.5
_STARTED = time.time()


class Job:
    """The ranks of this job as far as its end is concerned.

    Parameters
    ----------
    launch
        What the launcher announced.
    folder
        Run folder, on a file system that all ranks see; the claim file goes there.
    """

    def __init__(self, launch: Launch, folder: Path) -> None:
        self._launch = launch
        self._claim = folder / CLAIM
        # Replaced as soon as the ranks are connected.
        self.communicator: Communicator = SingleProcess()

    @contextmanager
    def one_message(self) -> Iterator[None]:
        """End the whole job with one message if anything is raised inside."""
        try:
            yield
        except BaseException as problem:
            if self._launch.size == 1:
                raise
            self.end(problem)
        self.communicator.close()
        if self._launch.rank == 0:
            self._claim.unlink(missing_ok=True)

    def end(self, problem: BaseException) -> NoReturn:
        """Tell the cause once and end every rank."""
        status = _status(problem)
        if isinstance(problem, JobError | Interrupted):
            self._leave_together(str(problem), status)
        if _is_secondary(problem):
            time.sleep(PATIENCE_SECONDS)
        if self._claim_message(str(problem), status):
            if not isinstance(problem, HvdNowcastError):
                traceback.print_exception(problem)
            who = f"{describe_rank(self._launch.rank)}: " if self._launch.size > 1 else ""
            console.fail(who + _message(problem))
            time.sleep(SPEAKING_SECONDS)
        else:
            time.sleep(PATIENCE_SECONDS)
        self.communicator.abort(status)
        os._exit(status)

    def _leave_together(self, message: str, status: int) -> NoReturn:
        if self._launch.rank == 0:
            console.fail(message)
        self.communicator.close()
        sys.exit(status)

    def _claim_message(self, message: str, status: int) -> bool:
        """Whether this rank is the one that speaks."""
        content = {"rank": self._launch.rank, "message": message, "exit_status": status}
        try:
            self._claim.parent.mkdir(parents=True, exist_ok=True)
            if self._claim.exists() and self._claim.stat().st_mtime < _STARTED:
                self._claim.unlink(missing_ok=True)  # Of an earlier job in this folder.
            with self._claim.open("x", encoding="utf-8") as file:
                file.write(json.dumps(content) + "\n")
        except FileExistsError:
            return False
        except OSError:
            return True  # Better two messages than none.
        return True


def _is_secondary(problem: BaseException) -> bool:
    return any(text in str(problem) for text in SECONDARY)


def _status(problem: BaseException) -> int:
    if isinstance(problem, HvdNowcastError):
        return problem.exit_status
    if isinstance(problem, SystemExit) and isinstance(problem.code, int):
        return problem.code or 1
    return 1


def _message(problem: BaseException) -> str:
    if isinstance(problem, HvdNowcastError):
        return str(problem)
    if isinstance(problem, SystemExit):
        return f"left in the middle of the run with status {problem.code}"
    return f"{type(problem).__name__}: {problem}. Please report it with the lines above"
