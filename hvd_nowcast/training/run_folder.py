"""A run is a folder: everything that made it and everything it made.

::

    RUN/config.yaml        the resolved configuration
    RUN/versions.json      program, Python and library versions
    RUN/git.json           commit and uncommitted changes of the working directory
    RUN/scaler.json        how values are scaled, fitted on the training split
    RUN/data.json          quantity, time step, grid and archive the run was trained on
    RUN/metrics.jsonl      one line per log interval and validation
    RUN/checkpoints/       to resume from
    RUN/weights/best.npz   weights of the best validation
    RUN/tensorboard/       the same metrics for TensorBoard
    RUN/final.json         written once, at the end
    RUN/failure.json       after a failure on many ranks: which rank, and why
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import dacite
import yaml

from hvd_nowcast.config import (
    Config,
    FloodConfig,
    LandcoverConfig,
    NowcastConfig,
    config_from_dict,
)
from hvd_nowcast.errors import RunFolderError
from hvd_nowcast.shards.writer import atomic_output

Content = TypeVar("Content")
TaskConfig = TypeVar("TaskConfig", NowcastConfig, FloodConfig, LandcoverConfig)


class RunFolder:
    """Paths and small files of a run.

    Parameters
    ----------
    path
        The folder; it need not exist yet.
    writable
        False on all ranks but one: nothing is written then.
    """

    def __init__(self, path: str | Path, writable: bool = True) -> None:
        self.path = Path(path)
        self.writable = writable
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.best_weights = self.path / "weights" / "best.npz"
        self.tensorboard = self.path / "tensorboard"
        self.shards = self.path / "shards"

    def start(self, config: Config) -> None:
        """Claim a new folder and write the configuration into it.

        Raises
        ------
        RunFolderError
            When the folder already holds a run or anything else.
        """
        if self.path.exists() and (not self.path.is_dir() or self._content()):
            raise RunFolderError(
                f"{self.path}: already in use. Add --resume to continue that run, or choose "
                "another --run folder"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(config.to_dict(), sort_keys=False)
        with atomic_output(self.path / "config.yaml") as aside:
            aside.write_text(text, encoding="utf-8")

    def _content(self) -> list[Path]:
        # What a failed start left is no run.
        return [file for file in self.path.iterdir() if file.name != "failure.json"]

    def check_same(self, config: Config) -> None:
        """Refuse to resume with another configuration.

        Raises
        ------
        RunFolderError
            Naming the settings that differ.
        """
        ours, theirs = config.to_flat_dict(), self.config().to_flat_dict()
        different = [key for key in ours | theirs if ours.get(key) != theirs.get(key)]
        if different:
            changes = ", ".join(f"{k}: {theirs.get(k)} -> {ours.get(k)}" for k in different)
            raise RunFolderError(
                f"{self.path}: --resume needs the configuration the run was started with, but "
                f"these settings differ: {changes}. Start a new --run folder instead"
            )

    def config(self) -> Config:
        """The resolved configuration of the run.

        Raises
        ------
        RunFolderError
            When the folder holds no run.
        """
        path = self.path / "config.yaml"
        if not path.is_file():
            raise RunFolderError(
                f"{self.path}: not a run folder, it has no config.yaml. "
                "Make one with: hvd-nowcast train CONFIG --run DIR"
            )
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "regions" in tree:
            raise RunFolderError(
                f"{self.path}: holds the models of many regions, not one run. Use hvd-nowcast "
                "regions report, forecast, or one of the runs under models/"
            )
        return config_from_dict(tree, str(path))

    def config_of(self, kind: type[TaskConfig]) -> TaskConfig:
        """The configuration of a run that must be of one task.

        Raises
        ------
        RunFolderError
            When it is of another.
        """
        config = self.config()
        if not isinstance(config, kind):
            raise RunFolderError(f"{self.path}: a {config.task} run, a {kind.task} run is needed")
        return config

    def require_weights(self) -> Path:
        """The file of the best weights.

        Raises
        ------
        RunFolderError
            When there is none yet.
        """
        if not self.best_weights.exists():
            raise RunFolderError(
                f"{self.best_weights}: no weights yet, they come with the first validation. "
                "Continue the training with --resume"
            )
        return self.best_weights

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a small JSON file at once or not at all."""
        if not self.writable:
            return
        with atomic_output(self.path / name) as aside:
            aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a small JSON file.

        Raises
        ------
        RunFolderError
            When it is missing or damaged.
        """
        path = self.path / name
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise RunFolderError(
                f"{path}: missing or damaged ({problem}). Train the run to its first validation"
            ) from problem
        return content

    def read_as(self, name: str, kind: type[Content]) -> Content:
        """Read a small JSON file into a dataclass; what it has besides is left out.

        Raises
        ------
        RunFolderError
            When it is missing, damaged, or lacks a field.
        """
        try:
            return dacite.from_dict(kind, self.read_json(name), dacite.Config(cast=[tuple]))
        except dacite.DaciteError as problem:
            raise RunFolderError(
                f"{self.path / name}: not of this version of the program ({problem}). Train the "
                "run again"
            ) from problem

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return (self.path / name).exists()

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one line to ``metrics.jsonl``."""
        if not self.writable:
            return
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def cut_metrics(self, step: int) -> None:
        """Forget what was logged after a step, because a resume does it again."""
        if not self.metrics.exists():
            return
        kept = [json.dumps(record) for record in self._records() if record["step"] <= step]
        with atomic_output(self.metrics) as aside:
            aside.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def _records(self) -> Iterator[dict[str, Any]]:
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                return  # The last line of a killed run may be half written.
