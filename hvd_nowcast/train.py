"""``hvd-nowcast train``, on one process or on many ranks."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hvd_nowcast import console
from hvd_nowcast.config import Config, NowcastConfig, load_config
from hvd_nowcast.errors import ConfigError
from hvd_nowcast.information import collect_versions, comparable_versions, git_state
from hvd_nowcast.keras_import import import_keras
from hvd_nowcast.parallel.agreement import from_first, on_all, require_same
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.parallel.failure import Job
from hvd_nowcast.parallel.launcher import find_launch
from hvd_nowcast.parallel.startup import connect
from hvd_nowcast.training.run_folder import RunFolder


def train(
    config_file: Path,
    folder: Path,
    overrides: Sequence[str] = (),
    resume: bool = False,
    timeline: Path | None = None,
    shards: Sequence[Path] = (),
) -> dict[str, Any] | None:
    """Train the model of a configuration file together with all ranks that were launched.

    Parameters
    ----------
    config_file
        YAML.
    folder
        The run.
    overrides
        ``section.key=value``.
    resume
        Continue from the newest checkpoint, on as many ranks as there are now.
    timeline
        Where Horovod writes its timeline.
    shards
        Copies of the shards of the configuration, to read instead of them, in the same order.

    Returns
    -------
    dict or None
        What ``final.json`` holds, on rank 0; nothing on the others, or when the run was finished
        before.
    """
    job = Job(find_launch(os.environ), folder)
    with job.one_message():
        communicator = job.communicator = connect(os.environ, timeline)
        config = on_all(communicator, lambda: load_config(config_file, overrides))
        require_same(communicator, "versions", comparable_versions())
        require_same(communicator, "the configuration", config.to_flat_dict())
        run = RunFolder(folder, writable=communicator.rank == 0)
        if not from_first(communicator, lambda: _prepare(run, config, resume)):
            return None
        if shards:
            # Not part of the run: the next job may have its copy elsewhere.
            elsewhere = (*overrides, f"data.shards={_copies(config, shards)}")
            config = on_all(communicator, lambda: load_config(config_file, elsewhere))
        return _train(config, run, communicator, job)


def _copies(config: Config, shards: Sequence[Path]) -> str:
    """Setting of ``data.shards`` that names the copies."""
    wanted = len(config.data.folders) if isinstance(config, NowcastConfig) else 1
    if len(shards) != max(1, wanted):
        raise ConfigError(
            f"--shards names {len(shards)} folders, but data.shards {wanted}: give --shards once "
            "for each, in the same order"
        )
    return json.dumps([str(folder) for folder in shards] if wanted > 1 else str(shards[0]))


def describe_training(folder: Path, final: Mapping[str, Any]) -> str:
    """One line about a finished run.

    Parameters
    ----------
    folder
        The run.
    final
        What `train` returns.
    """
    return (
        f"{folder}: {final['steps']} steps, best validation loss {final['best_loss']:.4f} at "
        f"step {final['best_step']}, {final['samples_per_second']:.1f} samples/s, "
        f"weights {final['fingerprint'][:12]}"
    )


def probe(config_file: Path, overrides: Sequence[str] = ()) -> str | None:
    """Measure all launched ranks as ``balance.mode: static`` would.

    Returns
    -------
    str or None
        A table, on rank 0.
    """
    # A run that is thrown away: it needs a folder for its scaling, on a disk all ranks see.
    with TemporaryDirectory(prefix=".probe.", dir=Path.cwd()) as scratch:
        job = Job(find_launch(os.environ), Path(scratch))
        with job.one_message():
            communicator = job.communicator = connect(os.environ)
            config = on_all(communicator, lambda: load_config(config_file, overrides))
            folder = Path(communicator.gather(scratch)[0])
            run = RunFolder(folder, writable=communicator.rank == 0)
            from_first(communicator, lambda: run.start(config))
            import_keras()
            from hvd_nowcast.training.loop import TrainingRun
            from hvd_nowcast.training.sharing import describe_plan, planned_shares

            probes = TrainingRun(config, run, communicator).probe()
            batch = config.training.global_batch
            table = describe_plan(probes, planned_shares(probes, batch))
            communicator.barrier()
            return table if communicator.rank == 0 else None


def _prepare(run: RunFolder, config: Config, resume: bool) -> bool:
    """Claim or reopen the run folder; False when there is nothing left to do."""
    if resume and run.has("final.json"):
        console.note(f"{run.path}: already finished, nothing to resume")
        return False
    if resume and run.has("config.yaml"):
        run.check_same(config)
        return True
    run.start(config)
    run.write_json("versions.json", collect_versions())
    run.write_json("git.json", git_state(Path.cwd()))
    return True


def _train(
    config: Config, run: RunFolder, communicator: Communicator, job: Job
) -> dict[str, Any] | None:
    # TensorFlow takes seconds to import, which wrong settings need not wait for.
    import_keras()
    from hvd_nowcast.training.loop import TrainingRun

    if communicator.size > 1:
        console.note(f"{communicator.size} ranks") if communicator.rank == 0 else None
    final = TrainingRun(config, run, communicator).run(job.end)
    return final if run.writable else None
