"""``hvd-nowcast spark train``: the entry of ``train``, each rank in a Spark task."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvd_nowcast.errors import ParallelError
from hvd_nowcast.parallel.spark_launch import require_trust, run_on_spark
from hvd_nowcast.spark.session import (
    is_local,
    local_slots,
    parse_settings,
    session_settings,
    spark_context,
    worker_variables,
)
from hvd_nowcast.train import train


def train_on_spark(
    config_file: Path,
    folder: Path,
    ranks: int,
    master: str,
    overrides: Sequence[str] = (),
    resume: bool = False,
    trust_network: bool = False,
    settings: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Train as `hvd_nowcast.train.train` does, with ranks in Spark tasks.

    Parameters
    ----------
    config_file, folder, overrides, resume
        See `hvd_nowcast.train.train`; on a disk that all executors see.
    ranks
        How many.
    master
        Spark's master.
    trust_network
        Whether ranks may be on other machines.
    settings
        Spark settings as ``key=value``.

    Returns
    -------
    dict or None
        What ``final.json`` holds; nothing when the run was finished before.

    Raises
    ------
    ParallelError
        When the network is not trusted, or there are fewer slots than ranks.
    SystemExit
        With the status of a job that failed; the rank has said why.
    """
    require_trust(is_local(master), trust_network)
    slots = local_slots(master)
    if slots is not None and slots < ranks:
        raise ParallelError(
            f"--master {master} runs {slots} tasks at a time, but every one of {ranks} ranks needs "
            f"its own: give --num-proc {slots} or more slots"
        )
    whole = session_settings(master, parse_settings(settings), os.environ)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the run folder, which must be new.
    log = folder.with_name(f"{folder.name}.spark.log").resolve()
    arguments = (Path.cwd(), config_file, folder, tuple(overrides), resume)
    with spark_context(master, whole, log):
        variables = worker_variables(whole)
        found = run_on_spark(
            _train_here, arguments, ranks, variables, is_local(master), trust_network
        )
    final: dict[str, Any] | None = found[0]
    return final


def _train_here(
    here: Path, config_file: Path, folder: Path, overrides: Sequence[str], resume: bool
) -> dict[str, Any] | None:
    # Paths count from where the user is; Spark starts its tasks in folders of its own.
    os.chdir(here)
    return train(config_file, folder, overrides, resume)
