"""How ranks divide a network with branches: replicas, places inside them, samples of each place."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hvd_nowcast.errors import ConfigError

# Up to so many placements are all tried; beyond, the heaviest branch goes first.
MOST_PLACEMENTS = 20_000


def place_branches(costs: Sequence[float], speeds: Sequence[float]) -> list[int]:
    """Rank of each branch, so that the last rank ends as early as can be; none is left without.

    Parameters
    ----------
    costs
        Work of each branch.
    speeds
        Work per second of each rank of a replica.

    Raises
    ------
    ConfigError
        When there are more ranks than branches.
    """
    if len(speeds) > len(costs):
        raise ConfigError(
            f"branches.ranks_per_replica leaves {len(speeds)} ranks for branches, but the network "
            f"has only {len(costs)}: use fewer ranks in a replica, or more branches"
        )

    def end(placed: Iterable[int]) -> float:
        work = [0.0] * len(speeds)
        for owner, cost in zip(placed, costs, strict=True):
            work[owner] += cost / speeds[owner]
        return max(work)

    if len(speeds) ** len(costs) <= MOST_PLACEMENTS:
        every = (
            tried
            for tried in itertools.product(range(len(speeds)), repeat=len(costs))
            if len(set(tried)) == len(speeds)
        )
        return list(min(every, key=lambda tried: (end(tried), tried)))
    owners = [0] * len(costs)
    work = [0.0] * len(speeds)
    # Longest first (Graham 1969): at most a third worse than the best for equal ranks.
    for turn, branch in enumerate(sorted(range(len(costs)), key=lambda b: -costs[b])):
        idle = [rank for rank in range(len(speeds)) if not work[rank]]
        last_chance = len(costs) - turn <= len(idle)
        ranks = idle if last_chance else range(len(speeds))
        rank = min(ranks, key=lambda r: work[r] + costs[branch] / speeds[r])
        owners[branch] = rank
        work[rank] += costs[branch] / speeds[rank]
    return owners


@dataclass(frozen=True)
class ReplicaLayout:
    """How the ranks are divided.

    Attributes
    ----------
    rank, size
        This process and the number of processes.
    width
        Ranks of a replica.
    head_alone
        Whether the last place of a replica has no branch, and carries all samples through the rest
        of the network. Otherwise every place has branches, and carries some of the samples.
    """

    rank: int
    size: int
    width: int
    head_alone: bool = False

    def __post_init__(self) -> None:
        """Refuse what does not divide.

        Raises
        ------
        ConfigError
            When replicas would be of different sizes.
        """
        if self.size % self.width:
            raise ConfigError(
                f"branches.ranks_per_replica is {self.width}, which does not divide {self.size} "
                "ranks: choose a divisor, or 0 for one replica of all ranks"
            )

    @property
    def replica(self) -> int:
        """Number of this rank's replica."""
        return self.rank // self.width

    @property
    def replicas(self) -> int:
        """Number of replicas."""
        return self.size // self.width

    @property
    def position(self) -> int:
        """Place of this rank inside its replica."""
        return self.rank % self.width

    def batch_part(self, shares: Sequence[int]) -> slice:
        """Part of the global batch that this rank's replica takes."""
        first = self.replica * self.width
        start = sum(shares[:first])
        return slice(start, start + sum(shares[first : first + self.width]))

    @property
    def branch_places(self) -> range:
        """Places that hold branches."""
        return range(self.width - self.head_alone)

    def carried(self, place: int, samples: Any) -> tuple[Any, Any]:
        """First sample that a place carries through the rest of the network, and the one after.

        Parameters
        ----------
        place
            In a replica.
        samples
            Of the replica, a number or a tensor.
        """
        if not self.head_alone:
            return samples * place // self.width, samples * (place + 1) // self.width
        return 0 * samples, samples * (place == self.width - 1)

    @property
    def inside(self) -> list[list[int]]:
        """Ranks of each replica."""
        return [list(range(first, first + self.width)) for first in range(0, self.size, self.width)]

    @property
    def across(self) -> list[list[int]]:
        """Ranks of the same place in every replica."""
        return [list(range(place, self.size, self.width)) for place in range(self.width)]
