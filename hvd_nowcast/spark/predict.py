"""``hvd-nowcast spark predict``: plan, make what is missing, join."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hvd_nowcast import __version__, console
from hvd_nowcast.errors import ConfigError, InputError, JobError
from hvd_nowcast.spark.plan import Plan, Request, left_to_do, tasks_for
from hvd_nowcast.spark.results import LOG, claim_folder, input_fingerprints, is_intact
from hvd_nowcast.spark.session import parse_settings, session_settings, spark_context
from hvd_nowcast.spark.work import open_work
from hvd_nowcast.spark.worker import Failure, Package, Worker, pack

POLL_SECONDS = 0.5


def predict(
    run: Path,
    inputs: Sequence[Path],
    out: Path,
    master: str,
    every_minutes: int = 60,
    geotiff: bool = False,
    settings: Sequence[str] = (),
) -> Iterator[str]:
    """Run a trained model over a scene or an archive, as ``forecast`` does over one input.

    Parameters
    ----------
    run
        A trained run of any task; only the driver reads it.
    inputs
        Files or a folder of shards, on a disk that all executors see.
    out
        Output folder, on such a disk; what it holds of an earlier call is used.
    master
        Spark's master.
    every_minutes, geotiff
        See `Request`.
    settings
        Spark settings as ``key=value``.

    Yields
    ------
    str
        Lines for the screen.

    Raises
    ------
    InputError, RunFolderError
        Before Spark is started.
    OutputError
        When the folder belongs to something else.
    JobError
        The first error of an executor.
    """
    given = parse_settings(settings)
    request = Request(tuple(path.resolve() for path in inputs), every_minutes, geotiff)
    _require_inputs(request.inputs)
    out = out.resolve()
    with open_work(run, request) as work:
        fingerprints = input_fingerprints(request.inputs)
        plan = Plan(__version__, work.weights, fingerprints, tuple(work.pieces))
        claim_folder(out, plan)
        pieces = _watched_check(plan.pieces, out)
        if pieces:
            yield f"{len(pieces)} of {len(plan.pieces)} pieces to do on {master}"
            whole = session_settings(master, given, os.environ)
            with spark_context(master, whole, out / LOG) as context:
                require_success(make_pieces(context, pack(run, request), pieces, out))
        yield work.join(out)


def make_pieces(
    context: Any, package: Package, pieces: Sequence[str], out: Path, key: str = ""
) -> list[Failure]:
    """Make some pieces on executors.

    Parameters
    ----------
    context
        A SparkContext.
    package
        Sent once to each executor.
    pieces
        What is to be made.
    out
        Where they go.
    key
        Worker processes keep the model of the last key; the application when left out.

    Returns
    -------
    list
        Known errors of executors.
    """
    broadcast, done = context.broadcast(package), context.accumulator(0)
    worker = Worker(broadcast, key or context.applicationId, out, done)
    tasks = tasks_for(pieces, context.defaultParallelism)
    job = context.parallelize(tasks, len(tasks)).flatMap(worker)
    bar: tqdm[str] = console.progress(None, "on Spark", len(pieces), "piece")
    with bar, ThreadPoolExecutor(1) as aside:
        found = aside.submit(job.collect)
        while not found.done():
            wait([found], POLL_SECONDS)
            bar.update(done.value - bar.n)
        failures: list[Failure] = found.result()
    broadcast.destroy()
    return failures


def require_success(failures: Sequence[Failure]) -> None:
    """Raise the first of some errors.

    Raises
    ------
    JobError
        With its exit status.
    """
    if failures:
        first, others = failures[0], len(failures) - 1
        more = f" ({others} more pieces failed)" if others else ""
        raise JobError(f"{first.piece}: {first.message}{more}", first.exit_status)


def _watched_check(pieces: Sequence[str], out: Path) -> tuple[str, ...]:
    watched = console.progress(pieces, "checking", len(pieces), "piece")
    return left_to_do(pieces, {piece for piece in watched if is_intact(out / piece)})


def _require_inputs(inputs: Sequence[Path]) -> None:
    if not inputs:
        raise ConfigError("give the files or the shards to predict from")
    for path in inputs:
        if not path.exists():
            raise InputError(path, "there is no such file", "Check its name")
