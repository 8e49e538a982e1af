"""The executor's side: a model is built once per worker process from bytes that were broadcast."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from zipimport import zipimporter

from hvd_nowcast.errors import HvdNowcastError, ParallelError
from hvd_nowcast.information import collect_versions
from hvd_nowcast.spark.plan import Request
from hvd_nowcast.spark.results import is_intact, seal
from hvd_nowcast.spark.work import Work, open_work

# All that a predictor of any task reads of a run folder.
RUN_FILES = (
    "config.yaml",
    "scaler.json",
    "data.json",
    "weights/best.npz",
    "weights/best.json",
)
# What other versions of would give other numbers.
DECISIVE = ("hvd_nowcast", "python", "tensorflow", "tensorflow-cpu", "keras", "numpy")


class Failure(NamedTuple):
    """A known error on an executor.

    Attributes
    ----------
    piece
        What was to be made.
    message, exit_status
        Of the error.
    """

    piece: str
    message: str
    exit_status: int


@dataclass(frozen=True)
class Package:
    """What an executor needs: configuration and arrays as bytes, never objects of Keras.

    Attributes
    ----------
    files
        Content of each of `RUN_FILES` that the run has.
    request
        The inputs.
    versions
        `decisive_versions` on the driver.
    """

    files: dict[str, bytes]
    request: Request
    versions: dict[str, str]


def pack(run: Path, request: Request) -> Package:
    """Take what executors need from a run folder."""
    files = {name: (run / name).read_bytes() for name in RUN_FILES if (run / name).is_file()}
    return Package(files, request, decisive_versions())


def decisive_versions() -> dict[str, str]:
    """Versions that must be the same on all executors."""
    return {name: text for name, text in collect_versions().items() if name in DECISIVE}


def open_package(package: Package, stack: ExitStack) -> Work:
    """Build the model of a package and open its inputs.

    Raises
    ------
    ParallelError
        When this executor has other versions than the driver, which may give other results.
    """
    _require_same_versions(package.versions, decisive_versions())
    with TemporaryDirectory(prefix="hvd-nowcast-") as folder:
        for name, content in package.files.items():
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        return stack.enter_context(open_work(Path(folder), package.request))


def _require_same_versions(driver: dict[str, str], executor: dict[str, str]) -> None:
    different = [name for name in driver | executor if driver.get(name) != executor.get(name)]
    if different:
        changes = ", ".join(f"{n} {driver.get(n)} and {executor.get(n)}" for n in different)
        raise ParallelError(
            f"driver and executors differ in {changes}. Give executors the environment of the "
            "driver: the same PYSPARK_PYTHON on all nodes, or --conf spark.archives=..."
        )


class Worker:
    """Makes pieces; pickled to executors with nothing but the handle of the broadcast.

    Parameters
    ----------
    package
        Spark's broadcast of a `Package`.
    key
        Tells this job's package from others.
    out
        The output folder.
    done
        Spark's counter of pieces, for the progress bar.
    """

    def __init__(self, package: Any, key: str, out: Path, done: Any) -> None:
        self._package = package
        self._key = key
        self._out = out
        self._done = done

    def __call__(self, pieces: Iterable[str]) -> Iterator[Failure]:
        """Make some pieces, but for those that are there already; errors of ours are returned.

        An error that is raised makes Spark try again elsewhere, which would not help.
        """
        for piece in pieces:
            try:
                self._make(piece)
            except HvdNowcastError as problem:
                yield Failure(piece, str(problem), problem.exit_status)
            self._done.add(1)
        _forget_archives()

    def _make(self, piece: str) -> None:
        path = self._out / piece
        if is_intact(path):
            return
        is_first = self._key not in _open
        path.parent.mkdir(exist_ok=True)
        _opened(self._key, self._package).compute(piece, path)
        seal(path)
        if is_first:
            # Spark collects garbage after every task: TensorFlow's objects need not be looked at.
            gc.freeze()


# The work that this process has open: tasks of one job follow each other in the same process.
_open: dict[str, tuple[ExitStack, Work]] = {}


def _opened(key: str, package: Any) -> Work:
    if key not in _open:
        for stack, _ in _open.values():
            stack.close()
        _open.clear()
        stack = ExitStack()
        _open[key] = stack, open_package(package.value, stack)
    return _open[key][1]


def _forget_archives() -> None:
    """Drop Python's readers of Spark's zip and jar files, made again when one is needed.

    Spark has every reader list its whole archive again before each task, a third of a tile's time.
    """
    for path, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimporter):
            del sys.path_importer_cache[path]
