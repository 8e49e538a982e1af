"""``hvd-nowcast compare-parallel``: one network under every placement that the ranks allow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvd_nowcast import console
from hvd_nowcast.config import (
    BranchesSection,
    Config,
    FloodConfig,
    LandcoverConfig,
    load_config,
)
from hvd_nowcast.errors import ConfigError, MissingDependencyError
from hvd_nowcast.parallel.agreement import from_first, on_all, require_same
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.parallel.failure import Job
from hvd_nowcast.parallel.launcher import find_launch
from hvd_nowcast.parallel.startup import connect
from hvd_nowcast.parallel.traffic import WHOLE, Placement, placements, sent_per_step
from hvd_nowcast.training.run_folder import RunFolder

if TYPE_CHECKING:
    from hvd_nowcast.training.loop import TrainingRun

Branched = FloodConfig | LandcoverConfig

RESULT, FIGURE = "comparison.json", "comparison.png"
# Linux forgets the peak of a process's memory when this is written there.
CLEAR_PEAK = ("/proc/self/clear_refs", "5")


@dataclass(frozen=True)
class Placed:
    """What one placement took.

    Attributes
    ----------
    placement
        Its name.
    step_seconds
        Of a training step.
    sent_bytes
        By the busiest rank in a step, predicted from the sizes of what travels.
    wire_bytes
        By the busiest host in a step, counted by its network interfaces; 0 where all ranks are on
        one host.
    busy
        Share of a step that each rank computes.
    validation_seconds
        For all validation samples, all ranks together: reading and inference.
    memory
        Peak of each rank in bytes.
    validation_loss
        After the last step.
    fingerprint
        Of the weights.
    """

    placement: str
    step_seconds: float
    sent_bytes: float
    wire_bytes: float
    busy: tuple[float, ...]
    validation_seconds: float
    memory: tuple[int, ...]
    validation_loss: float
    fingerprint: str


def compare_parallel(
    config_file: Path, folder: Path, overrides: Sequence[str] = (), steps: int = 100
) -> list[Placed]:
    """Train the network of a configuration under every placement, from the same weights.

    Parameters
    ----------
    config_file
        YAML of a network with branches.
    folder
        A new folder; every placement gets a run in it.
    overrides
        ``section.key=value``.
    steps
        Training steps under each placement.

    Returns
    -------
    list of Placed
        On rank 0; empty on the others.

    Raises
    ------
    ConfigError
        When there is one rank, or the network has no branches.
    """
    job = Job(find_launch(os.environ), folder)
    with job.one_message():
        communicator = job.communicator = connect(os.environ)
        config = on_all(communicator, lambda: _config(config_file, overrides, steps))
        require_same(communicator, "the configuration", config.to_flat_dict())
        if communicator.size == 1:
            raise ConfigError("one rank has nothing to compare: start it with mpirun -n 2 or more")
        if not isinstance(config, Branched):
            raise ConfigError(f"a {config.task} network has no branches to place")
        found = list(_run_all(config, communicator, folder, job))
        if communicator.rank:
            return []
        rows = [asdict(one) for one in found]
        content = {"ranks": communicator.size, "placements": rows}
        RunFolder(folder).write_json(RESULT, content)
        _draw(rows, folder / FIGURE)
        return found


def _draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    try:
        from hvd_nowcast.plots.placements import save_placements

        console.note(f"figure: {save_placements(rows, path)}")
    except MissingDependencyError as problem:
        console.warn(f"without a figure: {problem}")


def comparison_table(found: Sequence[Placed]) -> str:
    """One row for each placement."""
    header = [
        "placement",
        "ms per step",
        "kB sent per step",
        "on the wire",
        "busy share",
        "ms per validation",
        "MB per rank",
        "validation loss",
    ]
    rows = [
        [
            one.placement,
            f"{1e3 * one.step_seconds:.1f}",
            f"{one.sent_bytes / 1e3:.1f}",
            f"{one.wire_bytes / 1e3:.1f}" if one.wire_bytes else "one host",
            " ".join(f"{share:.2f}" for share in one.busy),
            f"{1e3 * one.validation_seconds:.0f}",
            " ".join(f"{memory / 1e6:.0f}" for memory in one.memory),
            f"{one.validation_loss:.5f}",
        ]
        for one in found
    ]
    return console.table(header, rows)


def _config(config_file: Path, overrides: Sequence[str], steps: int) -> Config:
    config = load_config(config_file, overrides)
    # Two validations, of which the second is timed.
    training = replace(
        config.training, steps=steps, validate_every=max(1, steps // 2), checkpoint_every=steps
    )
    return replace(config, training=training)


def folder_name(placement: str) -> str:
    """Name of the run of a placement, which no other placement has."""
    return placement.replace(",", "").replace(" ", "-")


def _run_all(
    config: Branched, communicator: Communicator, folder: Path, job: Job
) -> Iterator[Placed]:
    # The whole network on every rank comes first: it tells how many branches there are.
    first, branches = _run_placed(WHOLE, config, communicator, folder, job)
    yield first
    for placement in placements(communicator.size, branches)[1:]:
        yield _run_placed(placement, config, communicator, folder, job)[0]


def _run_placed(
    placement: Placement, config: Branched, communicator: Communicator, folder: Path, job: Job
) -> tuple[Placed, int]:
    """What a placement took, and how many branches the network has."""
    from hvd_nowcast.training.loop import TrainingRun

    config = replace(config, branches=BranchesSection(placement.width, placement.head_alone))
    if communicator.rank == 0:
        console.note(f"{placement.name}: {config.training.steps} steps")
    run = RunFolder(folder / folder_name(placement.name), writable=communicator.rank == 0)
    from_first(communicator, lambda: run.start(config))
    _forget_peak()
    training = TrainingRun(config, run, communicator)
    final = training.run(job.end)
    (share,) = final["shares"][-1:]
    steps = [work + wait for work, wait in zip(share["work"], share["wait"], strict=True)]
    placed = Placed(
        placement.name,
        max(steps),
        max(_sent(training, placement, config, communicator)),
        max(share["sent"]),
        tuple(work / step for work, step in zip(share["work"], steps, strict=True)),
        final["validation_seconds"],
        tuple(communicator.gather(_peak())),
        final["loss"],
        final["fingerprint"],
    )
    return placed, len(training.task.sizes.branches)


def _sent(
    training: TrainingRun, placement: Placement, config: Config, communicator: Communicator
) -> list[float]:
    import numpy as np

    task, batch = training.task, config.training.global_batch
    owners = task.branches.owners if task.branches else []
    number_bytes = np.dtype(task.model.trainable_variables[0].dtype).itemsize
    return sent_per_step(task.sizes, communicator.size, placement, owners, batch, number_bytes)


def _forget_peak() -> None:
    path, text = CLEAR_PEAK
    try:
        Path(path).write_text(text, encoding="ascii")
    except OSError:
        console.warn("the peak of memory is that of all placements so far")


def _peak() -> int:
    """Peak memory of this process in bytes, 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return 1024 * int(peaks[0]) if peaks else 0
