"""What a run remembers of its data, so that a resume and a forecast can tell others apart."""

from __future__ import annotations

from typing import Any

from hvd_nowcast.errors import ShardError
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.training.run_folder import RunFolder


def store_data_facts(manifest: Manifest, run: RunFolder) -> None:
    """Write ``data.json``, or compare with it on a resume.

    Raises
    ------
    ShardError
        When the archive changed since the start of the run.
    """
    facts: dict[str, Any] = {
        "quantity": manifest.quantity,
        "step_seconds": manifest.step_seconds,
        "grid_digest": manifest.grid.digest,
        "grid_shape": list(manifest.grid.shape),
        "grid_spacing": manifest.grid.spacing,
        "shards": {entry.file: entry.sha256 for entry in manifest.shards},
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
