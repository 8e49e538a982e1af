"""Step times of a cluster one does not have."""

from __future__ import annotations

from collections.abc import Sequence

from hvd_nowcast import console
from hvd_nowcast.parallel.balance import (
    RankCost,
    fastest_shares,
    proportional_shares,
    speed_up_ceiling,
    step_seconds,
)

BYTES_PER_WEIGHT = 4


def simulate(
    speeds: Sequence[float],
    global_batch: int,
    fixed: float = 0.0,
    parameters: int = 0,
    latency: float = 20e-6,
    bandwidth: float = 1e9,
) -> list[str]:
    """Compare equal, proportional and fastest shares.

    Parameters
    ----------
    speeds
        Samples per second of each rank.
    global_batch
        Samples per step.
    fixed
        Seconds of a step on a rank whatever its share.
    parameters
        Weights of the model, for the all-reduce.
    latency, bandwidth
        Of a message between two ranks, seconds and bytes per second.

    Returns
    -------
    list of str
        A table and what it assumes.
    """
    costs = [RankCost(fixed, 1.0 / speed) for speed in speeds]
    exchange = all_reduce_seconds(len(speeds), parameters * BYTES_PER_WEIGHT, latency, bandwidth)
    ranks = len(speeds)
    ways = {
        "equal": [global_batch // ranks + (r < global_batch % ranks) for r in range(ranks)],
        "proportional": proportional_shares(speeds, global_batch),
        "fastest": fastest_shares(costs, global_batch),
    }
    ideal = global_batch / sum(speeds)
    equal = step_seconds(costs, ways["equal"]) + exchange
    rows = []
    for name, shares in ways.items():
        seconds = step_seconds(costs, shares) + exchange
        rows.append(
            [name, _shorten(shares), f"{1e3 * seconds:.1f}", f"{equal / seconds:.2f}"]
            + [f"{ideal / seconds:.0%}"]
        )
    header = ["shares", "samples by rank", "step ms", "times equal", "efficiency"]
    return [
        console.table(header, rows),
        f"ceiling over equal shares without fixed cost and exchange: {speed_up_ceiling(costs):.2f}",
        f"model: ring all-reduce of {parameters} weights in {1e3 * exchange:.2f} ms; efficiency is "
        "of all ranks computing all the time",
    ]


def all_reduce_seconds(ranks: int, size: int, latency: float, bandwidth: float) -> float:
    """Ring all-reduce: ``2 (p - 1) latency + 2 (p - 1) / p * size / bandwidth``.

    Parameters
    ----------
    ranks
        p.
    size
        Bytes on each rank.
    latency, bandwidth
        Of a message between two ranks, seconds and bytes per second.
    """
    if ranks == 1 or not size:
        return 0.0
    return 2 * (ranks - 1) * latency + 2 * (ranks - 1) / ranks * size / bandwidth


def _shorten(shares: Sequence[int]) -> str:
    text = " ".join(map(str, shares))
    return text if len(text) <= 40 else f"{min(shares)} to {max(shares)}"
