"""``hvd-nowcast shards stage``: shards to a disk of every node of a job."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from hvd_nowcast.config import Config, NowcastConfig, load_config
from hvd_nowcast.loader.assignment import equal_shares
from hvd_nowcast.parallel.agreement import on_all
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.parallel.failure import Job
from hvd_nowcast.parallel.launcher import find_launch
from hvd_nowcast.parallel.startup import connect
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.scene import is_scene
from hvd_nowcast.shards.stage import Staged, stage_shards


def stage(
    folder: Path, target: Path, config_file: Path | None = None, overrides: Sequence[str] = ()
) -> list[str]:
    """Copy to each node what its ranks will read; one rank of each node copies.

    Parameters
    ----------
    folder
        The shards.
    target
        Folder on a disk of the node; its path is the same on all nodes.
    config_file, overrides
        The run that will read the copy, on as many ranks as there are now. Without it a nowcast's
        training and validation shards are copied, and every other archive whole.

    Returns
    -------
    list of str
        A line for each node, on rank 0; nothing on the others.
    """
    job = Job(find_launch(os.environ), target)
    with job.one_message():
        ranks = job.communicator = connect(os.environ)
        host = socket.gethostname()
        hosts = ranks.gather(host)
        mine = [rank for rank, name in enumerate(hosts) if name == host]

        def copy() -> dict[str, object]:
            if ranks.rank != mine[0]:
                return {}
            config = load_config(config_file, overrides) if config_file is not None else None
            wanted = _wanted(folder, config, ranks, mine)
            return {"host": host, **vars(stage_shards(folder, target, wanted, ranks.rank > 0))}

        nodes = [node for node in ranks.gather(on_all(ranks, copy)) if node]
    return [_describe(target, **node) for node in nodes] if ranks.rank == 0 else []


def _wanted(
    folder: Path, config: Config | None, ranks: Communicator, mine: Sequence[int]
) -> set[str] | None:
    """Files that the ranks of this node open, None for all."""
    if is_scene(folder):
        return None
    manifest = Manifest.load(folder)
    if manifest.companions:
        return None  # The past of a watershed's sample may lie in another split.
    # The samples of several archives come in an order of all together, which one does not tell.
    alone = isinstance(config, NowcastConfig) and len(config.data.folders) < 2
    if isinstance(config, NowcastConfig) and alone and config.balance.mode == "equal":
        from hvd_nowcast.training.reading_plan import shards_read

        shares = equal_shares(config.training.global_batch, ranks.size)
        return shards_read(manifest, config.data, config.training, shares, mine)
    return {entry.file for entry in manifest.shards if entry.split != "test"}


def _describe(target: Path, host: str, **staged: int) -> str:
    found = Staged(**staged)
    return (
        f"{host}: {found.files} shards, {found.bytes / 1e6:.1f} MB copied to {target}, "
        f"{found.kept} were there, {found.left_out} are not needed"
    )
