"""Processes that take turns: only one of them runs at a time, on cores that the others leave."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import time
from pathlib import Path

WORKERS = Path(__file__).parent / "step_workers"
LONGEST_BLOCK_SECONDS = 300
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"
)
FULL_CORES = {"HVD_NOWCAST_RANKS": "2", "OMPI_MCA_mpi_yield_when_idle": "1"}


def mpirun(ranks: int = 2) -> list[str]:
    """The beginning of a command line for some ranks on this machine."""
    root = ["--allow-run-as-root"] if os.getuid() == 0 else []
    return ["mpirun", "-n", str(ranks), "--oversubscribe", "--bind-to", "none", *root]


class Contender:
    """Worker processes that run blocks of steps when told to, see ``step_workers/common.py``.

    Parameters
    ----------
    name
        Of its files.
    folder
        Where questions and answers lie.
    commands
        What is started.
    ranks
        Processes that will answer.
    pausable
        Whether they are stopped between their turns; some take that for a failure of their peer.
    variables
        Of the environment.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        commands: list[list[str]],
        ranks: int = 2,
        pausable: bool = True,
        **variables: str,
    ) -> None:
        # What ends a benchmark must not leave processes behind that are stopped: `end` is reached.
        signal.signal(signal.SIGTERM, _leave)
        self.name = name
        self._folder = folder
        self._asked = 0
        self._ranks = range(ranks)
        self._log = (folder / f"{name}.log").open("w")
        environment = {**os.environ, **ONE_THREAD, **variables}
        self._started = [
            subprocess.Popen(
                command,
                env={**environment, **_task(rank, variables)},
                stdout=self._log,
                stderr=subprocess.STDOUT,
            )
            for rank, command in enumerate(commands)
        ]
        self._pausable: list[int] = []
        try:
            pids = [int(self._read(f"{name}.{rank}.pid")) for rank in self._ranks]
        except BaseException:
            self.end()
            raise
        self._pausable = pids if pausable else []
        self._signal(signal.SIGSTOP)

    def ask(self, variant: str, steps: int) -> float:
        """Median seconds of a step in a block; that of the slowest rank."""
        return max(statistics.median(s) for s in self.answers(variant, steps) if s)

    def answers(self, variant: str, steps: int) -> list[list[float]]:
        """What each rank answers."""
        self._signal(signal.SIGCONT)
        aside = self._folder / f"{self.name}.question"
        aside.write_text(json.dumps([variant, steps]))
        aside.rename(self._folder / f"{self.name}.question.{self._asked}")
        found = [
            json.loads(self._read(f"{self.name}.{rank}.answer.{self._asked}"))
            for rank in self._ranks
        ]
        self._asked += 1
        self._signal(signal.SIGSTOP)
        return found

    def end(self) -> None:
        """Let the processes leave, or kill them."""
        self._signal(signal.SIGCONT)
        question = self._folder / f"{self.name}.question.{self._asked}"
        question.write_text(json.dumps(["stop", 0]))
        for process in self._started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.terminate()

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pausable:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _read(self, name: str) -> str:
        path, limit = self._folder / name, time.monotonic() + LONGEST_BLOCK_SECONDS
        while not path.exists() or not path.read_text():
            if time.monotonic() > limit or any(p.poll() for p in self._started):
                self._log.flush()
                log = (self._folder / f"{self.name}.log").read_text()
                raise SystemExit(f"{self.name} did not answer:\n{log[-3000:]}")
            time.sleep(0.01)
        return path.read_text()


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _task(rank: int, variables: dict[str, str]) -> dict[str, str]:
    if "WORKERS" not in variables:
        return {}
    cluster = {"worker": variables["WORKERS"].split(",")}
    return {
        "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})
    }


def free_address() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"
