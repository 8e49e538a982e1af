"""How fast each rank is: all at once, whole steps of three sizes, a robust line through them.

The last size is about the share that the rank will get, so that the line is right where it counts.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import combinations

from hvd_nowcast.parallel.balance import RankCost, proportional_shares
from hvd_nowcast.parallel.communicator import Communicator

# Of the steps of one size. Short bursts say little: a scheduler favours a process that was idle.
SECONDS, MOST_STEPS = 1.8, 60
# A rank whose times stray further from the line than this cannot be planned with.
LARGEST_SPREAD = 0.25


@dataclass(frozen=True)
class RankProbe:
    """What the probe found on one rank.

    Attributes
    ----------
    host, device
        Where it runs.
    fixed, per_sample
        Seconds of a step: ``fixed + per_sample * samples``.
    spread
        Largest distance of a measured size from that line, as a part of it.
    cap
        Largest size that did not run out of memory, None when all fitted.
    """

    host: str
    device: str
    fixed: float
    per_sample: float
    spread: float
    cap: int | None = None

    @property
    def good(self) -> bool:
        """Whether the line can be planned with."""
        return self.per_sample > 0 and self.spread <= LARGEST_SPREAD

    @property
    def cost(self) -> RankCost:
        """The line."""
        return RankCost(self.fixed, self.per_sample, self.cap)


def probe_sizes(global_batch: int, ranks: int) -> list[int]:
    """Sizes that all ranks measure first: half of an equal share, and that share."""
    equal = max(1, global_batch // ranks)
    return sorted({max(1, equal // 2), max(2, equal)})


def last_size(rank: int, speeds: Sequence[float], global_batch: int) -> int:
    """The size that a rank measures last: about the share that it will get.

    Parameters
    ----------
    rank
        Which.
    speeds
        Samples a second of each rank, by the sizes that were measured first.
    global_batch
        What is divided.

    Returns
    -------
    int
        Half as much again as an equal share where that share would be measured for a second time.
    """
    share = proportional_shares(speeds, global_batch)[rank]
    first = probe_sizes(global_batch, len(speeds))
    return share if share and share not in first else min(global_batch, first[-1] * 3 // 2)


def probe_ranks(
    communicator: Communicator,
    device: str,
    take_steps: Callable[[int], Generator[float, None, None]],
    global_batch: int,
) -> list[RankProbe]:
    """Measure all ranks at the same time, because they share memory and network.

    It takes 10 seconds at most, unless some rank needs more than 1.5 for an equal share.

    Parameters
    ----------
    communicator
        The ranks.
    device
        Name of this rank's device.
    take_steps
        From a number of samples to the seconds of one step after the other on this rank, waiting
        for others left out. When it runs out of memory, the largest size before is the rank's cap.
    global_batch
        What is to be divided.

    Raises
    ------
    MemoryError
        When not even the smallest size fits.
    """
    times: dict[int, float] = {}
    cap: int | None = None

    def measure(size: int) -> None:
        nonlocal cap
        try:
            if size not in times and (cap is None or size < cap):
                with closing(take_steps(size)) as steps:
                    times[size] = statistics.median(_taken(steps))
        except MemoryError:
            if not times:
                raise
            cap = max(times)

    for size in probe_sizes(global_batch, communicator.size):
        measure(size)
        # All begin a size together.
        communicator.barrier()
    largest = max(times)
    speeds = communicator.gather(largest / times[largest])
    measure(last_size(communicator.rank, speeds, global_batch))
    fixed, per_sample, spread = fit_line(times)
    mine = RankProbe(platform.node(), device, fixed, per_sample, spread, cap)
    return [RankProbe(**found) for found in communicator.gather(asdict(mine))]


def _taken(steps: Iterator[float]) -> list[float]:
    """Seconds of the steps that there is time for, at least of one."""
    next(steps)  # Prepares those that follow.
    taken = [next(steps)]
    while len(taken) < MOST_STEPS and sum(taken) + taken[-1] <= SECONDS:
        taken.append(next(steps))
    return taken


def fit_line(times: dict[int, float]) -> tuple[float, float, float]:
    """Median slope through all pairs of points (Theil 1950, Sen 1968), and what strays from it.

    Parameters
    ----------
    times
        Seconds by number of samples.

    Returns
    -------
    fixed, per_sample, spread
        ``fixed`` is not negative; ``spread`` is the largest distance as a part of the line.
    """
    if len(times) == 1:
        ((size, seconds),) = times.items()
        return 0.0, seconds / size, 0.0
    slopes = [(times[b] - times[a]) / (b - a) for a, b in combinations(sorted(times), 2)]
    per_sample = statistics.median(slopes)
    fixed = statistics.median(t - per_sample * size for size, t in times.items())
    if fixed < 0:  # More samples than fit in a cache cost more each: no line has that.
        fixed, per_sample = 0.0, statistics.median(t / size for size, t in times.items())
    lines = {size: fixed + per_sample * size for size in times}
    spread = max(
        abs(times[size] - line) / line if line > 0 else float("inf") for size, line in lines.items()
    )
    return fixed, per_sample, spread
