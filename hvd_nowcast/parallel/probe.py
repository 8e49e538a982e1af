"""How fast each rank is: all at once, whole steps, several sizes, a robust line through them."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

from hvd_nowcast.parallel.balance import RankCost
from hvd_nowcast.parallel.communicator import Communicator

# Short bursts say little: a scheduler favours a process that was idle before.
LEAST_SECONDS = 0.7
LEAST_REPEATS, MOST_REPEATS = 3, 60
# Of the whole probe. A step of each size is timed even where steps are so long that it takes more.
LONGEST_SECONDS = 10.0
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
    take_steps: Callable[[int, int], list[float]],
    sizes: Sequence[int],
) -> list[RankProbe]:
    """Measure all ranks at the same time, because they share memory and network.

    Parameters
    ----------
    communicator
        The ranks.
    device
        Name of this rank's device.
    take_steps
        From a number of samples and of steps to the seconds of each step on this rank, reading
        included and waiting for others left out.
    sizes
        Numbers of samples to measure, rising. One that runs out of memory is the end of it: the
        size before becomes the rank's cap.

    Raises
    ------
    MemoryError
        When not even the smallest size fits.
    """
    started = time.perf_counter()
    times: dict[int, float] = {}
    cap: int | None = None
    for number, size in enumerate(sizes):
        first = None
        try:
            # The first step of a size also prepares it.
            first = take_steps(size, 2)[1] if cap is None else None
        except MemoryError:
            if not times:
                raise
            cap = max(times)
        firsts, spent = zip(
            *communicator.gather((first, time.perf_counter() - started)), strict=True
        )
        # The same number on all, so that none measures while others rest.
        more = repeats(firsts, sizes[number:], LONGEST_SECONDS - max(spent)) - 1
        if first is not None:
            times[size] = statistics.median([first, *(take_steps(size, more) if more else ())])
    fixed, per_sample, spread = fit_line(times)
    mine = RankProbe(platform.node(), device, fixed, per_sample, spread, cap)
    return [RankProbe(**found) for found in communicator.gather(asdict(mine))]


def repeats(firsts: Sequence[float | None], sizes: Sequence[int], seconds: float) -> int:
    """How many steps of a size to time.

    Parameters
    ----------
    firsts
        Seconds of the first of them on each rank, None where it ran out of memory.
    sizes
        This size and those to come, each of which takes a step more, to prepare it.
    seconds
        That are left for them all.

    Returns
    -------
    int
        As many as the fastest rank needs to be measured well, but no more than all sizes have
        time for on the slowest; at least 1.
    """
    taken = [first for first in firsts if first is not None]
    if not taken:
        return 1
    needed = min(max(LEAST_REPEATS, int(LEAST_SECONDS / min(taken))), MOST_REPEATS)
    size, later = sizes[0], sum(sizes[1:])
    # Of n steps of each size, the first of this size is behind us: (n - 1) size + (n + 1) later.
    affordable = (seconds * size / max(taken) + size - later) / (size + later)
    return max(1, min(needed, int(affordable)))


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
