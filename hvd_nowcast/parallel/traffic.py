"""What a rank sends in a step, from the sizes of what travels.

Collectives are counted in their usual forms: a ring all-reduce of m bytes over n ranks sends
``2 m (n - 1) / n`` from each (Patarasuk and Yuan 2009, doi:10.1016/j.jpdc.2008.09.002), an
exchange of features only what another rank carries on. On two ranks every form sends the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hvd_nowcast.parallel.layout import ReplicaLayout


@dataclass(frozen=True)
class NetworkSizes:
    """Numbers of a network that travels.

    Attributes
    ----------
    branches
        Weights of each branch that no other part has.
    shared
        Weights that several branches have.
    head
        Weights that no branch has.
    features
        Features of one branch for one sample.
    """

    branches: tuple[int, ...]
    shared: int
    head: int
    features: int


@dataclass(frozen=True)
class Placement:
    """A way to divide a network over ranks.

    Attributes
    ----------
    name
        For people.
    width
        Ranks of a replica; 1 where every rank holds the whole network.
    head_alone
        Whether the head is on a rank without a branch.
    """

    name: str
    width: int
    head_alone: bool = False


WHOLE = Placement("data", 1)


def sent_per_step(
    sizes: NetworkSizes,
    ranks: int,
    placement: Placement,
    owners: Sequence[int],
    batch: int,
    number_bytes: int = 4,
) -> list[float]:
    """Bytes that each rank sends in a training step.

    Parameters
    ----------
    sizes
        Of the network.
    ranks
        All of them.
    placement
        How they hold the network.
    owners
        Place of each branch in a replica; not used where every rank holds the whole network.
    batch
        Global batch.
    number_bytes
        Bytes of a number.
    """
    if placement.width == 1:
        whole = sizes.shared + sizes.head + sum(sizes.branches)
        return [number_bytes * _reduced(whole, ranks)] * ranks
    return [
        number_bytes
        * _sent(
            sizes,
            ReplicaLayout(rank, ranks, placement.width, placement.head_alone),
            owners,
            batch,
        )
        for rank in range(ranks)
    ]


def _sent(sizes: NetworkSizes, layout: ReplicaLayout, owners: Sequence[int], batch: int) -> float:
    """Numbers that a rank sends."""
    mine = [branch for branch, owner in enumerate(owners) if owner == layout.position]
    samples = batch // layout.replicas
    start, stop = layout.carried(layout.position, samples)
    carried = stop - start
    # Features of the samples that others carry, gradients of the features that others computed.
    exchanged = len(mine) * (samples - carried) + (len(owners) - len(mine)) * carried
    own = sum(sizes.branches[branch] for branch in mine)
    everywhere = sizes.shared
    if not layout.head_alone:
        everywhere += sizes.head
    elif layout.position not in layout.branch_places:
        own += sizes.head
    reduced = _reduced(everywhere, layout.size) + _reduced(own, layout.replicas)
    return exchanged * sizes.features + reduced


def _reduced(numbers: int, ranks: int) -> float:
    return 2.0 * numbers * (ranks - 1) / ranks


def placements(ranks: int, branches: int) -> list[Placement]:
    """Every placement that fits.

    ``data`` copies the network to every rank. ``branch`` spreads the branches of one copy over all
    ranks, which divide the samples for the head; ``layer`` gives the head a rank of its own. With
    ``+data`` there are several copies, each so spread.

    Parameters
    ----------
    ranks
        All of them.
    branches
        Branches of the network; each rank of a replica has one at least, or the head.
    """
    found = [WHOLE]
    for kind, head_alone in (("branch", False), ("layer", True)):
        for width in range(2, min(ranks, branches + head_alone) + 1):
            if ranks % width == 0:
                copies = "" if width == ranks else f"+data, {width} ranks each"
                found.append(Placement(kind + copies, width, head_alone))
    return found
