"""How many samples each rank takes, from how fast it is: plain numbers, no processes.

A step ends when its slowest rank does. With ``seconds = a_r + c_r * b_r`` on rank ``r``, where the
fixed part ``a`` is what a step costs whatever its size, the shares ``b_r`` that end a step first
are found exactly, in integers. Shares in proportion to speed alone, the rule of the published
system (Moreno-Alvarez et al. 2020), leave the fixed part out.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from hvd_nowcast.errors import ConfigError


@dataclass(frozen=True)
class RankCost:
    """What a step costs on one rank.

    Attributes
    ----------
    fixed
        Seconds of a step with any sample at all.
    per_sample
        Seconds for each sample; positive.
    cap
        Samples that fit into the rank's memory; None when no limit was met.
    """

    fixed: float
    per_sample: float
    cap: int | None = None

    def seconds(self, samples: int) -> float:
        """Predicted time of the rank's part of a step; a rank without samples only waits."""
        return self.fixed + self.per_sample * samples if samples else 0.0


def step_seconds(costs: Sequence[RankCost], shares: Sequence[int]) -> float:
    """Predicted time of a step: that of its slowest rank."""
    return max(cost.seconds(share) for cost, share in zip(costs, shares, strict=True))


def fastest_shares(costs: Sequence[RankCost], global_batch: int) -> list[int]:
    """Shares of the global batch that make the slowest rank as fast as can be.

    Samples go one by one to the rank that would end first with one more. Because a rank's time
    only grows with its share, this takes the ``global_batch`` smallest of all end times there are,
    and no division has an earlier last one.

    Parameters
    ----------
    costs
        One for each rank. No share is above a rank's cap, unless the batch is larger than all
        caps together: then none is kept, and ranks compute their share in pieces.
    global_batch
        Sum of the shares.
    """
    if not costs or min(cost.per_sample for cost in costs) <= 0:
        raise ConfigError("every rank needs a positive time per sample")
    shares = [0] * len(costs)
    # The rank number breaks ties, so that every rank finds the same plan.
    ends = [(cost.seconds(1), rank) for rank, cost in enumerate(costs)]
    heapq.heapify(ends)
    caps = caps_for(costs, global_batch)
    for _ in range(global_batch):
        _, rank = heapq.heappop(ends)
        shares[rank] += 1
        if shares[rank] < caps[rank]:
            heapq.heappush(ends, (costs[rank].seconds(shares[rank] + 1), rank))
    return shares


def caps_for(costs: Sequence[RankCost], global_batch: int) -> list[int]:
    """Largest share of each rank: its cap, or the batch where caps cannot be kept."""
    caps = [global_batch if cost.cap is None else cost.cap for cost in costs]
    return caps if sum(caps) >= global_batch else [global_batch] * len(costs)


def proportional_shares(speeds: Sequence[float], global_batch: int) -> list[int]:
    """Shares in proportion to speed, rounded by largest remainder."""
    exact = [global_batch * speed / sum(speeds) for speed in speeds]
    shares = [int(share) for share in exact]
    rest = sorted(range(len(exact)), key=lambda rank: (shares[rank] - exact[rank], rank))
    for rank in rest[: global_batch - sum(shares)]:
        shares[rank] += 1
    return shares


def keep_or_change(
    costs: Sequence[RankCost], current: Sequence[int], dead_band: float
) -> list[int]:
    """The fastest shares, or the current ones where the gain is within the dead band.

    Parameters
    ----------
    costs
        As measured now.
    current
        Shares in use.
    dead_band
        Least gain that is worth a change, as a part of the current step time.
    """
    best = fastest_shares(costs, sum(current))
    caps = caps_for(costs, sum(current))
    if any(share > cap for share, cap in zip(current, caps, strict=True)):
        return best
    gain = 1.0 - step_seconds(costs, best) / step_seconds(costs, current)
    return best if gain > dead_band else list(current)


def speed_up_ceiling(costs: Sequence[RankCost]) -> float:
    """Largest gain over equal shares without fixed cost: ``sum(v) / (N min(v))``, v the speeds."""
    speeds = [1.0 / cost.per_sample for cost in costs]
    return sum(speeds) / (len(speeds) * min(speeds))
