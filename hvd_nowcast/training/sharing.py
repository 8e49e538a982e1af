"""Which rank takes how many samples of each step, and what made us think so."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hvd_nowcast import console
from hvd_nowcast.config import BalanceSection
from hvd_nowcast.errors import ConfigError
from hvd_nowcast.loader.assignment import equal_shares
from hvd_nowcast.parallel.balance import (
    RankCost,
    fastest_shares,
    keep_or_change,
    speed_up_ceiling,
    step_seconds,
)
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.parallel.probe import RankProbe

STATIC_DEAD_BAND = 0.10
DYNAMIC_DEAD_BAND = 0.20


@dataclass
class Sharing:
    """Shares in use, and their history, which a checkpoint keeps.

    Attributes
    ----------
    shares
        Samples of each rank; their sum never changes.
    costs
        What a step costs on each rank as far as known; None before a probe.
    history
        ``{"step": ..., "shares": [...], "work": [...], "wait": [...], "sent": [...]}`` for each
        division so far; work and wait are median seconds of each rank while it was in use, sent
        the median of bytes that left its host in a step, 0 where there is one host.
    """

    shares: list[int]
    costs: list[RankCost] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    _work: list[float] = field(default_factory=list)
    _whole: list[float] = field(default_factory=list)
    _sent: list[int] = field(default_factory=list)

    def record(self, work_seconds: float, step_seconds_seen: float, sent_bytes: int = 0) -> None:
        """Remember one step of this rank: its own work, the whole step, what its host sent."""
        self._work.append(work_seconds)
        self._whole.append(step_seconds_seen)
        self._sent.append(sent_bytes)

    def summarise(self, communicator: Communicator) -> list[float] | None:
        """Write this division's times into the history; median work of each rank, if any."""
        if not self._work:
            return None
        seen = (self._work, self._whole, self._sent)
        found = communicator.gather([statistics.median(values) for values in seen])
        for values in seen:
            values.clear()
        work, whole, sent = (list(column) for column in zip(*found, strict=True))
        wait = [both - own for own, both in zip(work, whole, strict=True)]
        self.history[-1] |= {"work": work, "wait": wait, "sent": sent}
        return work

    def change(self, step: int, shares: list[int]) -> None:
        """Use other shares from a step on."""
        self.shares = shares
        self.history.append({"step": step, "shares": shares})

    def adapt(self, step: int, communicator: Communicator) -> bool:
        """Divide anew by the times seen; whether anything changed, the same on all ranks."""
        work = self.summarise(communicator)
        if work is None or self.costs is None:
            return False
        self.costs = [
            _scaled(cost, seconds, share)
            for cost, seconds, share in zip(self.costs, work, self.shares, strict=True)
        ]
        shares = _at_least_one(keep_or_change(self.costs, self.shares, DYNAMIC_DEAD_BAND))
        if shares == self.shares:
            return False
        if communicator.rank == 0:
            console.note(f"shares from step {step} on: {_join(self.shares)} -> {_join(shares)}")
        self.change(step, shares)
        return True


def start_sharing(
    section: BalanceSection,
    global_batch: int,
    communicator: Communicator,
    history: list[dict[str, Any]],
    step: int,
    probe: Callable[[], list[RankProbe]],
) -> Sharing:
    """Shares of the first step, or of the step a resume starts at.

    Parameters
    ----------
    section, global_batch
        Mode and sum.
    communicator
        The ranks.
    history
        From the checkpoint; used when it is of as many ranks.
    step
        Where the run starts.
    probe
        Measures all ranks; called when the mode needs it.
    """
    equal = equal_shares(global_batch, communicator.size)
    sharing = Sharing(equal, history=list(history))
    if communicator.size == 1 or section.mode == "equal":
        sharing.change(step, equal)
        return sharing
    if section.mode == "manual":
        sharing.change(step, _manual(section, communicator.size))
        return sharing
    known = history[-1]["shares"] if history else []
    probes = probe() if section.mode == "dynamic" or len(known) != communicator.size else []
    if probes and not all(found.good for found in probes):
        _say(communicator, _poor(probes))
        sharing.change(step, equal)
        return sharing
    sharing.costs = [found.cost for found in probes] or None
    if len(known) == communicator.size:
        sharing.change(step, list(known))
        return sharing
    shares = planned_shares(probes, global_batch)
    sharing.change(step, _at_least_one(shares) if section.mode == "dynamic" else shares)
    _say(communicator, describe_plan(probes, sharing.shares))
    return sharing


def planned_shares(probes: list[RankProbe], global_batch: int) -> list[int]:
    """The fastest shares; equal ones where the gain is small or the probe poor."""
    equal = equal_shares(global_batch, len(probes))
    if not all(found.good for found in probes):
        return equal
    return keep_or_change([found.cost for found in probes], equal, STATIC_DEAD_BAND)


def describe_plan(probes: list[RankProbe], shares: list[int]) -> str:
    """Table of what the probe found and what follows from it."""
    costs = [found.cost for found in probes]
    rows = [
        [
            rank,
            found.host,
            found.device,
            f"{1e3 * found.fixed:.1f}",
            f"{1e3 * found.per_sample:.2f}",
            f"{found.spread:.0%}",
            share,
            f"{1e3 * found.cost.seconds(share):.1f}",
            found.cap or "",
        ]
        for rank, (found, share) in enumerate(zip(probes, shares, strict=True))
    ]
    header = ["rank", "host", "device", "fixed ms", "ms per sample", "spread", "share", "step ms"]
    header.append("memory holds" if any(found.cap for found in probes) else "")
    equal = step_seconds(costs, equal_shares(sum(shares), len(shares)))
    gain = equal / step_seconds(costs, shares)
    fastest = equal / step_seconds(costs, fastest_shares(costs, sum(shares)))
    return "\n".join(
        [
            console.table(header, rows),
            f"predicted gain over equal shares {gain:.2f} times; the fastest shares give "
            f"{fastest:.2f}, and without fixed cost the ceiling is {speed_up_ceiling(costs):.2f}",
        ]
    )


def _scaled(cost: RankCost, seconds: float, share: int) -> RankCost:
    # Other load slows the fixed part and the samples alike.
    factor = seconds / cost.seconds(share) if share else 1.0
    return RankCost(cost.fixed * factor, cost.per_sample * factor, cost.cap)


def _at_least_one(shares: list[int]) -> list[int]:
    """A rank without samples would never be seen to recover."""
    shares = list(shares)
    for rank, share in enumerate(shares):
        if share == 0 and max(shares) > 1:
            shares[shares.index(max(shares))] -= 1
            shares[rank] = 1
    return shares


def _manual(section: BalanceSection, ranks: int) -> list[int]:
    shares = list(section.shares or ())
    if len(shares) != ranks:
        raise ConfigError(
            f"balance.shares has {len(shares)} numbers, but there are {ranks} ranks: start "
            f"{len(shares)} ranks or change the shares"
        )
    return shares


def _poor(probes: list[RankProbe]) -> str:
    worst = max(range(len(probes)), key=lambda rank: probes[rank].spread)
    return (
        f"equal shares: the times of rank {worst} on {probes[worst].host} stray by "
        f"{probes[worst].spread:.0%} from a line, too much to plan with. Is the node busy?"
    )


def _say(communicator: Communicator, text: str) -> None:
    if communicator.rank == 0:
        console.note(text)


def _join(shares: list[int]) -> str:
    return "-".join(map(str, shares))
