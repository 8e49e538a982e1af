"""Weights on disk: plain arrays and JSON, written aside, checked, then renamed.

A checkpoint is two files: ``NAME.npz`` with one array per variable, and ``NAME.json`` with what
else a resume needs and the SHA-256 of the arrays. The JSON is written last, so a checkpoint
without it never was complete. Nothing is pickled and no code is loaded.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0
from numpy.typing import NDArray

from hvd_nowcast.errors import CheckpointError
from hvd_nowcast.shards.manifest import file_digest
from hvd_nowcast.shards.writer import atomic_output

PREFIX = "step-"
# Small enough to stay in a core's cache from checksum to checksum and to the disk.
PIECE_BYTES = 1 << 18


def variable_arrays(
    model: keras.Model, optimiser: keras.Optimizer | None = None
) -> dict[str, NDArray[Any]]:
    """Every weight of a model, and variable of its optimiser, by a name that does not change.

    They are read-only and stay as they are: TensorFlow copies a variable that is still looked at
    when it updates it.
    """
    variables = _named_variables(model, optimiser)
    # Not .numpy(), which copies: a quarter of what a checkpoint took.
    return {name: np.asarray(v.value.read_value()) for name, v in variables.items()}


def _named_variables(
    model: keras.Model, optimiser: keras.Optimizer | None
) -> dict[str, keras.Variable]:
    variables = {f"model/{number:04d}/{v.path}": v for number, v in enumerate(model.weights)}
    if optimiser is not None:
        for number, variable in enumerate(optimiser.variables):
            variables[f"optimiser/{number:04d}/{variable.path}"] = variable
    return variables


def fingerprint(model: keras.Model) -> str:
    """SHA-256 over the bytes of all weights in order; equal weights, equal fingerprint."""
    digest = hashlib.sha256()
    for name, array in variable_arrays(model).items():
        digest.update(name.split("/", 2)[2].encode())
        digest.update(_as_bytes(array))
    return digest.hexdigest()


def save_arrays(path: Path, arrays: dict[str, NDArray[Any]], facts: dict[str, Any]) -> None:
    """Write ``path`` (``.npz``) and the JSON beside it.

    Raises
    ------
    OutputError
        When the disk is full or not writable; an older file of that name stays whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_output(path) as aside, aside.open("wb") as file:
        digest = _write_arrays(file, arrays)
    with atomic_output(path.with_suffix(".json")) as aside:
        aside.write_text(json.dumps({**facts, "sha256": digest}, indent=1), encoding="utf-8")


def load_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `save_arrays` wrote.

    Raises
    ------
    CheckpointError
        When a file is missing, damaged or not what its checksum says.
    """
    try:
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if file_digest(path) != facts["sha256"]:
            raise CheckpointError(
                f"{path}: the arrays do not have the checksum of their .json file. Remove both "
                "files; --resume then uses the checkpoint before them"
            )
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}, facts
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as problem:
        if isinstance(problem, CheckpointError):
            raise
        raise CheckpointError(f"{path}: not a readable checkpoint: {problem}") from problem


def load_weights(path: Path, model: keras.Model) -> dict[str, Any]:
    """Fill a model from a file of weights, and return the facts beside it.

    Raises
    ------
    CheckpointError
        When the file is damaged, or of another network; nothing is assigned then.
    """
    arrays, facts = load_arrays(path)
    assign_arrays(arrays, path, model)
    return facts


def assign_arrays(
    arrays: dict[str, NDArray[Any]],
    path: Path,
    model: keras.Model,
    optimiser: keras.Optimizer | None = None,
) -> None:
    """Fill the variables of a model, and of its optimiser, from a checkpoint.

    Raises
    ------
    CheckpointError
        When names or shapes differ; nothing is assigned then.
    """
    targets = _named_variables(model, optimiser)
    for name, variable in targets.items():
        stored = arrays.get(name)
        if stored is None or stored.shape != tuple(variable.shape):
            came = "nothing" if stored is None else f"shape {stored.shape}"
            raise CheckpointError(
                f"{path}: variable {name} should have shape {tuple(variable.shape)}, the "
                f"checkpoint holds {came}. Use the configuration the checkpoint was made with"
            )
    for name, variable in targets.items():
        variable.assign(arrays[name])


class CheckpointFolder:
    """The checkpoints of a run, the newest ``keep`` of them.

    Parameters
    ----------
    folder
        Made when missing.
    keep
        Older ones are removed after a new one is complete.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep

    def save(
        self, step: int, model: keras.Model, optimiser: keras.Optimizer, facts: dict[str, Any]
    ) -> Path:
        """Write the checkpoint of a step and remove old ones."""
        path = self._folder / f"{PREFIX}{step:08d}.npz"
        save_arrays(path, variable_arrays(model, optimiser), {**facts, "step": step})
        self._prune(self.complete()[: -self._keep])
        return path

    def complete(self) -> list[Path]:
        """Checkpoints with their JSON, oldest first."""
        return sorted(
            path.with_suffix(".npz")
            for path in self._folder.glob(f"{PREFIX}*.json")
            if path.with_suffix(".npz").exists()
        )

    def load_newest(
        self, model: keras.Model, optimiser: keras.Optimizer
    ) -> tuple[dict[str, Any], list[CheckpointError]]:
        """Restore the newest checkpoint that is whole.

        Returns
        -------
        facts, skipped
            What was saved beside the arrays (empty when there is no checkpoint), and the errors of
            newer checkpoints that had to be passed over.
        """
        skipped: list[CheckpointError] = []
        for path in reversed(self.complete()):
            try:
                arrays, facts = load_arrays(path)
            except CheckpointError as problem:
                skipped.append(problem)
                continue
            assign_arrays(arrays, path, model, optimiser)
            return facts, skipped
        return {}, skipped

    def _prune(self, old: Sequence[Path]) -> None:
        for path in old:
            # The JSON goes first: a checkpoint without it counts as absent.
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)


class _DigestingFile:
    """Takes the checksum of what passes, so that nothing is read again. It cannot seek."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, content: bytes | memoryview) -> int:
        self.digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _write_arrays(file: BinaryIO, arrays: dict[str, NDArray[Any]]) -> str:
    # What numpy.savez writes, without its copy of every array, which takes twice as long.
    passing = _DigestingFile(file)
    with zipfile.ZipFile(passing, "w") as archive:
        for name, given in arrays.items():
            array = np.asarray(given, order="C")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = header_data_from_array_1_0(array)  # type: ignore[no-untyped-call]
                write_array_header_1_0(member, header)  # type: ignore[no-untyped-call]
                content = _as_bytes(array)
                for start in range(0, content.nbytes, PIECE_BYTES):
                    member.write(content[start : start + PIECE_BYTES])
    return passing.digest.hexdigest()


def _as_bytes(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
