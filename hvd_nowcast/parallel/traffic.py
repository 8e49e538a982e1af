"""What a rank sends in a step, from the sizes of what travels.

Collectives are counted in their usual forms: a ring all-reduce of m bytes over n ranks sends
``2 m (n - 1) / n`` from each (Patarasuk and Yuan 2009, doi:10.1016/j.jpdc.2008.09.002), an
all-gather sends a rank's own block to ``n - 1`` others. On two ranks every form sends the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hvd_nowcast.parallel.branches import ReplicaLayout


@dataclass(frozen=True)
class NetworkSizes:
    """Numbers of a network that travels.

    Attributes
    ----------
    branches
        Weights of each branch that no other part has.
    shared
        Weights of the rest.
    features
        Features of one branch for one sample.
    """

    branches: tuple[int, ...]
    shared: int
    features: int


def sent_per_step(
    sizes: NetworkSizes,
    ranks: int,
    width: int,
    owners: Sequence[int],
    batch: int,
    number_bytes: int = 4,
) -> list[float]:
    """Bytes that each rank sends in a training step.

    Parameters
    ----------
    sizes
        Of the network.
    ranks, width
        All ranks, and those of a replica; 1 where every rank holds the whole network.
    owners
        Place of each branch in a replica; not used with width 1.
    batch
        Global batch.
    number_bytes
        Bytes of a number.
    """
    if width == 1:
        return [number_bytes * _reduced(sizes.shared + sum(sizes.branches), ranks)] * ranks
    sent = []
    for rank in range(ranks):
        layout = ReplicaLayout(rank, ranks, width)
        mine = [branch for branch, owner in enumerate(owners) if owner == layout.position]
        samples = batch // layout.replicas
        # Features of all samples forward, gradients of own samples for all branches back.
        forward = len(mine) * sizes.features * samples
        back = len(owners) * sizes.features * (samples / width)
        numbers = (width - 1) * (forward + back)
        numbers += _reduced(sizes.shared, ranks)
        numbers += _reduced(sum(sizes.branches[branch] for branch in mine), layout.replicas)
        sent.append(number_bytes * numbers)
    return sent


def _reduced(numbers: int, ranks: int) -> float:
    return 2.0 * numbers * (ranks - 1) / ranks


def placements(ranks: int, branches: int) -> dict[str, int]:
    """Ranks of a replica by the name of each placement that fits.

    ``data`` copies the network to every rank, ``branch`` spreads one copy over all ranks, and
    ``branch+data`` is in between: several copies, each spread.

    Parameters
    ----------
    ranks
        All ranks.
    branches
        Branches of the network: a replica has no more ranks.
    """
    found = {"data": 1}
    for width in range(2, min(ranks, branches) + 1):
        if ranks % width == 0:
            found["branch" if width == ranks else f"branch+data, {width} ranks each"] = width
    return found
