"""Result files with a checksum beside each, and the output folder that belongs to one plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dacite
import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import OutputError
from hvd_nowcast.shards.manifest import MANIFEST, file_digest
from hvd_nowcast.shards.writer import atomic_output, output_error
from hvd_nowcast.spark.plan import Plan

PLAN = "plan.json"
LOG = "spark.log"


def claim_folder(out: Path, plan: Plan) -> None:
    """Make the output folder of a plan, or go on in one that was begun.

    Raises
    ------
    OutputError
        When it holds something else, or results of another plan.
    """
    path = out / PLAN
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            if any(file.name != LOG for file in out.iterdir()):
                raise OutputError(f"{out}: holds other files; choose a new folder for --out")
            with atomic_output(path) as aside:
                aside.write_text(json.dumps(plan.to_dict(), indent=1) + "\n", encoding="utf-8")
            return
        content = json.loads(path.read_text(encoding="utf-8"))
        begun = Plan.from_dict(content if isinstance(content, dict) else {})
    except OSError as problem:
        raise output_error(out, problem) from problem
    except (ValueError, dacite.DaciteError) as problem:
        raise OutputError(f"{path}: not a plan; choose a new folder for --out") from problem
    different = begun.differences(plan)
    if different:
        raise OutputError(
            f"{out}: was begun with other {', '.join(different)}; give what it was begun with, or "
            "choose a new folder for --out"
        )


def input_fingerprints(inputs: tuple[Path, ...]) -> dict[str, str]:
    """What tells whether inputs are still the same: of shards the manifest, else size and date."""
    return {path.as_posix(): _fingerprint(path) for path in inputs}


def _fingerprint(path: Path) -> str:
    if (path / MANIFEST).is_file():
        return file_digest(path / MANIFEST)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    facts = [(file.name, file.stat()) for file in files]
    return "; ".join(f"{name} {fact.st_size} {fact.st_mtime_ns}" for name, fact in facts)


def seal(path: Path) -> None:
    """Write the checksum of a finished result beside it, as sha256sum would.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    with atomic_output(_seal_of(path)) as aside:
        aside.write_text(f"{file_digest(path)}  {path.name}\n", encoding="utf-8")


def is_intact(path: Path) -> bool:
    """Whether a result is there, byte for byte as it was sealed."""
    try:
        wanted = _seal_of(path).read_text(encoding="utf-8").split()[0]
        return file_digest(path) == wanted
    except (OSError, ValueError, IndexError):
        return False


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write some arrays, at once or not at all."""
    with atomic_output(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)


def _seal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
