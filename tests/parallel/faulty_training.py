"""``hvd-nowcast train`` with a fault on one rank.

``faulty_training.py FAULT RANK STEP ARGUMENT...``; the fault happens in that rank's step, and the
file FAULT_TIME beside the run folder says when.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hvd_nowcast import cli, information
from hvd_nowcast.loader.decoding import Decoder
from hvd_nowcast.loader.pipeline import BatchDecoder, WindowReader
from hvd_nowcast.loader.scaling import LogRainScaling
from hvd_nowcast.parallel.launcher import find_launch
from hvd_nowcast.training.step import TrainingStep


def raise_error() -> None:
    raise RuntimeError("made-up fault")


def fill_disk() -> None:
    # A limit on the size of files is the full disk that needs no root.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


IN_A_STEP: dict[str, Callable[[], object]] = {
    "exception": raise_error,
    "exit": lambda: sys.exit(5),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "terminate": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "disk-full": fill_disk,
    "slow": lambda: None,
}


def act_in_step(action: Callable[[], object], step: int, clock: Path) -> None:
    train, taken = TrainingStep.train, 0

    def faulty(self: Any, *arguments: Any) -> Any:
        nonlocal taken
        if taken == step:
            clock.touch()
            action()
        taken += 1
        return train(self, *arguments)

    TrainingStep.train = faulty  # type: ignore[method-assign]


def hang_while_reading(reads: int, clock: Path) -> None:
    read, done = WindowReader.read, 0

    def stuck(self: Any, window: int) -> Any:
        nonlocal done
        if done == reads:
            clock.touch()
            time.sleep(3600)
        done += 1
        return read(self, window)

    WindowReader.read = stuck  # type: ignore[method-assign]


def decode_to_infinity() -> None:
    make = BatchDecoder.__init__

    def faulty(self: Any, *arguments: Any) -> None:
        make(self, *arguments)
        self._decode = Decoder(arguments[0], LogRainScaling(5e-324))

    BatchDecoder.__init__ = faulty  # type: ignore[method-assign]


def claim_other_versions() -> None:
    version = information._version
    information._version = lambda name: "9.9" if name == "numpy" else version(name)


def main() -> None:
    fault, rank, step, *arguments = sys.argv[1:]
    clock = Path(arguments[arguments.index("--run") + 1]).parent / "FAULT_TIME"
    if find_launch(os.environ).rank == int(rank):
        if fault in IN_A_STEP:
            act_in_step(IN_A_STEP[fault], int(step), clock)
        elif fault == "stuck":
            hang_while_reading(int(step), clock)
        elif fault == "nan":
            decode_to_infinity()
        elif fault == "versions":
            claim_other_versions()
        elif fault == "config":
            arguments += ["--set", "optimiser.learning_rate=0.123"]
    cli.main(arguments)


main()
