"""How fast each rank is: all at once, whole steps, several sizes, a robust line through them."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import combinations

from hvd_nowcast.parallel.balance import RankCost
from hvd_nowcast.parallel.communicator import Communicator

# Of the steps of one size. Short bursts say little: a scheduler favours a process that was idle.
SECONDS, MOST_STEPS = 1.5, 60
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
    """Sizes to measure: around an equal share, within the batch."""
    equal = max(1, global_batch // ranks)
    sizes = {max(1, equal // 2), equal, min(global_batch, equal + equal // 2)}
    return sorted(sizes | ({2} if len(sizes) == 1 else set()))


def probe_ranks(
    communicator: Communicator,
    device: str,
    take_steps: Callable[[int], Generator[float, None, None]],
    sizes: Sequence[int],
) -> list[RankProbe]:
    """Measure all ranks at the same time, because they share memory and network.

    It takes 10 seconds at most, unless some rank needs more than 1.6 for an equal share.

    Parameters
    ----------
    communicator
        The ranks.
    device
        Name of this rank's device.
    take_steps
        From a number of samples to the seconds of one step after the other on this rank, waiting
        for others left out.
    sizes
        Numbers of samples to measure, rising. One that runs out of memory is the end of it: the
        size before becomes the rank's cap.

    Raises
    ------
    MemoryError
        When not even the smallest size fits.
    """
    times: dict[int, float] = {}
    cap: int | None = None
    for size in sizes:
        try:
            if cap is None:
                with closing(take_steps(size)) as steps:
                    times[size] = statistics.median(_taken(steps))
        except MemoryError:
            if not times:
                raise
            cap = max(times)
        # All begin a size together.
        communicator.barrier()
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
