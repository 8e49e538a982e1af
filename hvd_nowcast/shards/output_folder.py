"""A folder that is filled wholly or not at all, and never over the files of someone else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hvd_nowcast.errors import OutputError
from hvd_nowcast.shards.writer import output_error

# Marks a folder whose build has not finished.
BUILDING = ".building"
# Names that a build leaves when it is killed.
_OURS = re.compile(r"\d{8}T\d{6}_\d{5}\.nc|\..*\.part|manifest\.json|(watershed|scene)\.nc")


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Claim a folder for a build, and take away what the build wrote when it fails.

    Parameters
    ----------
    folder
        A new or empty folder, or one of a build that was killed.

    Raises
    ------
    OutputError
        When the folder is taken or cannot be written.
    """
    with ExitStack() as on_failure:
        on_failure.callback(_clear, folder, [] if folder.exists() else [folder])
        _claim(folder)
        yield
        on_failure.pop_all()
    (folder / BUILDING).unlink(missing_ok=True)


def _claim(folder: Path) -> None:
    # Only a folder that an earlier, unfinished build marked as its own may be cleared, and of it
    # only what a build writes.
    marker = folder / BUILDING
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = [path for path in folder.iterdir() if path != marker]
        foreign = [path for path in there if not (marker.exists() and _OURS.fullmatch(path.name))]
        if foreign:
            raise OutputError(
                f"{folder}: already holds {foreign[0].name}; choose a new folder for --out, or "
                "remove this one first"
            )
        marker.touch()
        for path in there:
            path.unlink()
    except OSError as problem:
        raise output_error(folder, problem) from problem


def _clear(folder: Path, folders: list[Path]) -> None:
    """Take away what a failed build wrote, and the folders it made."""
    if (folder / BUILDING).exists():
        for path in folder.iterdir():
            if _OURS.fullmatch(path.name):
                path.unlink()
        (folder / BUILDING).unlink()
    for path in folders:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
