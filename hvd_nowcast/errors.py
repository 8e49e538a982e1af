"""Every error a user can meet, and the exit status it ends the program with.

::

    HvdNowcastError                1   base of all
    +-- ConfigError                2   the configuration file or a --set value (ValueError)
    +-- InputError                 3   a file we were given cannot be used (ValueError)
    |   +-- ShardError             3   a shard or its manifest is damaged or inconsistent
    +-- MissingDependencyError     4   an optional package or tool is not installed (ImportError)
    +-- RunFolderError             5   a run folder is missing, taken, or of another configuration
    |   +-- CheckpointError        5   a checkpoint is damaged
    +-- OutputError                6   a result cannot be written: disk full, ... (OSError)
    +-- NotFiniteError             7   loss or gradient became NaN or infinite (ArithmeticError)
    +-- ParallelError              8   the ranks cannot work together: launcher, MPI, versions
    +-- StallError                 9   a rank made no progress for too long (TimeoutError)
    +-- JobError                   *   an error of another rank, with that error's status
    +-- Interrupted               85   stopped by a signal after saving; resume continues

Status 85 is the one a batch script requeues on. Each message says what was expected, what came,
and what to do; `InputError` always names the file.
"""

from __future__ import annotations

from os import PathLike

Path = str | PathLike[str]


class HvdNowcastError(Exception):
    """Base of all errors that end the program with one message instead of a traceback."""

    exit_status = 1


class ConfigError(HvdNowcastError, ValueError):
    """The configuration file or a ``--set`` value is wrong."""

    exit_status = 2


class InputError(HvdNowcastError, ValueError):
    """A file given by the user cannot be used.

    Parameters
    ----------
    path
        The file.
    problem
        What was expected and what came.
    remedy
        What the user can do about it.
    """

    exit_status = 3

    def __init__(self, path: Path, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {problem}. {remedy}")
        self.path = path
        self.problem = problem
        self.remedy = remedy


class ShardError(InputError):
    """A shard or its manifest is damaged or does not fit the others."""


class MissingDependencyError(HvdNowcastError, ImportError):
    """An optional package or tool is not installed."""

    exit_status = 4


class RunFolderError(HvdNowcastError):
    """A run folder is missing, already in use, or belongs to another configuration."""

    exit_status = 5


class CheckpointError(RunFolderError):
    """A checkpoint is damaged or does not fit the model."""


class OutputError(HvdNowcastError, OSError):
    """A result could not be written."""

    exit_status = 6


class NotFiniteError(HvdNowcastError, ArithmeticError):
    """The loss or a gradient became NaN or infinite."""

    exit_status = 7


class ParallelError(HvdNowcastError):
    """The ranks cannot work together."""

    exit_status = 8


class StallError(HvdNowcastError, TimeoutError):
    """A rank made no progress for too long."""

    exit_status = 9


class JobError(HvdNowcastError):
    """The one error of a job of several ranks, raised on all of them; rank 0 prints it.

    Parameters
    ----------
    message
        What happened, and on which rank.
    exit_status
        Status of the error that caused it.
    """

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class Interrupted(HvdNowcastError):
    """The run was stopped by a signal after its state was saved."""

    exit_status = 85
