"""What a run remembers of its data, so that a resume and a forecast can tell others apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from hvd_nowcast.errors import ShardError
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.training.run_folder import RunFolder


def store_data_facts(manifests: Sequence[Manifest], run: RunFolder) -> None:
    """Write ``data.json``, or compare with it on a resume.

    Of several archives the grid is that of the first, and shards carry the number of theirs: the
    folders may lie elsewhere at a resume.

    Raises
    ------
    ShardError
        When the archive changed since the start of the run.
    """
    first = manifests[0]
    facts: dict[str, Any] = {
        "quantity": first.quantity,
        "step_seconds": first.step_seconds,
        "grid_digest": first.grid.digest,
        "grid_shape": list(first.grid.shape),
        "grid_spacing": first.grid.spacing,
        "shards": {
            entry.file if len(manifests) == 1 else f"{number}/{PurePath(entry.file).name}": (
                entry.sha256
            )
            for number, manifest in enumerate(manifests)
            for entry in manifest.shards
        },
    }
    keep_data_facts(facts, run)


def keep_data_facts(facts: dict[str, Any], run: RunFolder) -> None:
    """Write facts about the data, or compare the checksums in ``shards`` with those on a resume.

    Raises
    ------
    ShardError
        When the data changed since the start of the run.
    """
    if run.has("data.json"):
        before = run.read_json("data.json")
        if before["shards"] != facts["shards"]:
            raise ShardError(
                run.path / "data.json",
                "the shards are not those the run was started with",
                "Put the old shards back, or start a new --run folder",
            )
    else:
        run.write_json("data.json", facts)
