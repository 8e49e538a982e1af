"""What is computed for each task of a model: the pieces, how one is made, how they are joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from hvd_nowcast.spark.plan import Request
from hvd_nowcast.training.run_folder import RunFolder


class Work(Protocol):
    """A trained model with its inputs, open, on the driver or on an executor."""

    @property
    def weights(self) -> str:
        """SHA-256 of the file of weights."""

    @property
    def pieces(self) -> Sequence[str]:
        """Result files, relative to the output folder."""

    def compute(self, piece: str, path: Path) -> None:
        """Make one result file, at once or not at all.

        Raises
        ------
        HvdNowcastError
            When an input cannot be used, or the file cannot be written.
        """

    def join(self, out: Path) -> str:
        """Make the output of all results; a line for the screen."""


@contextmanager
def open_work(run: Path, request: Request) -> Iterator[Work]:
    """Open the model of a run folder, of any task, with its inputs.

    Parameters
    ----------
    run
        A trained run; not needed any more once this is open.
    request
        The inputs.

    Raises
    ------
    InputError
        When the inputs do not fit the model.
    RunFolderError
        When there is no trained run.
    """
    # TensorFlow takes seconds to import, so each task imports its own when it is wanted.
    task = RunFolder(run, writable=False).config().task
    if task == "landcover":
        from hvd_nowcast.spark.landcover import open_scene_work

        with open_scene_work(run, request) as scene:
            yield scene
    elif task == "flood":
        from hvd_nowcast.spark.flood import open_flood_work

        with open_flood_work(run, request) as river:
            yield river
    else:
        from hvd_nowcast.spark.nowcast import open_archive_work

        with open_archive_work(run, request) as archive:
            yield archive
