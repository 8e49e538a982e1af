"""What do uneven shares gain on unequal ranks? ``python benchmarks/heterogeneous.py [--quick]``.

Two ranks of one thread, each on a core of its own; processes that only burn time on the second
rank's core slow it to about a half and a quarter. Our shares, by the probe under that load, equal
shares, and shares in proportion to speed without the fixed cost of a step take turns in one run.

The ceiling is ``sum(v) / (N min(v))`` of the speeds v that the probe found. Wanted of it: 0.92 at a
ratio of about 2, and 0.88 at about 4; with equal ranks never more than 2 % slower than equal
shares. The probe may take 10 seconds, and the step time that it predicts at a size it did not see
is to be within 10 % of that seen there, just before it and after it: of each rank, under each load,
in the median of some probes. The plans follow from the first of them alone, the ceiling from all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path

from contenders import FULL_CORES, WORKERS, Contender, mpirun
from figures import Figure, publish, ratio, ratio_figure

from hvd_nowcast.parallel.balance import (
    RankCost,
    keep_or_change,
    proportional_shares,
    speed_up_ceiling,
)

GLOBAL_BATCH = 16
BLOCK_STEPS = 4
# The probe takes turns with steps of a size that it does not see.
HELD_OUT, HELD_STEPS, PROBES = 6, 6, 5
BURNERS = {1: 0, 2: 1, 4: 3}
# Where ranks are equal, 2 % are sought.
ROUNDS = {1: 36, 2: 12, 4: 12}
# Of the ceiling.
WANTED = {2: 0.92, 4: 0.88}
DEAD_BAND = 0.10


def start_burners(count: int) -> list[subprocess.Popen[bytes]]:
    """Processes that keep the second rank's core busy."""
    core = sorted(os.sched_getaffinity(0))[1]
    code = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    return [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]


def measure(ranks: Contender, rounds: int, probes: int) -> dict[str, object]:
    """Plans and times under the load there is now."""
    probed = probe_and_try(ranks, probes)
    costs = probed["costs"][0]
    equal = [GLOBAL_BATCH // 2] * 2
    speeds = [GLOBAL_BATCH / 2 / cost.seconds(GLOBAL_BATCH // 2) for cost in costs]
    plans = {
        "equal": equal,
        "ours": keep_or_change(costs, equal, DEAD_BAND),
        "proportional": proportional_shares(speeds, GLOBAL_BATCH),
    }
    times: dict[str, list[float]] = {name: [] for name in plans}
    for number in range(rounds + 1):
        # There and back: what comes after steps of another size is not always the same plan.
        for name in list(plans)[:: 1 if number % 2 else -1]:
            seconds = ranks.ask(json.dumps(plans[name]), BLOCK_STEPS)
            if number:  # The first round warms up.
                times[name].append(seconds)
    return {**probed, "plans": plans, "times": times}


def probe_and_try(ranks: Contender, probes: int) -> dict[str, object]:
    """Probes in turns with what they predict.

    Returns
    -------
    dict
        ``costs`` of each rank by each probe, ``probe_seconds`` of each probe, and
        ``predicted``: per rank, of each probe, step time over that seen before and after it.
    """
    ranks.ask(f"try-{GLOBAL_BATCH}", 2)
    costs: list[list[RankCost]] = []
    seconds: list[float] = []
    seen = [ranks.answers(f"try-{HELD_OUT}", HELD_STEPS)]
    for _ in range(probes):
        started = time.perf_counter()
        answer = ranks.answers("probe", 0)[0]
        seconds.append(time.perf_counter() - started)
        costs.append([RankCost(*answer[:2]), RankCost(*answer[3:5])])
        seen.append(ranks.answers(f"try-{HELD_OUT}", HELD_STEPS))
    predicted = [
        [
            cost[rank].seconds(HELD_OUT) / statistics.median(before[rank] + after[rank])
            for cost, (before, after) in zip(costs, pairwise(seen), strict=True)
        ]
        for rank in (0, 1)
    ]
    return {"costs": costs, "probe_seconds": seconds, "predicted": predicted}


def report(found: dict[int, dict[str, object]]) -> None:
    header = (
        f"{'slowed':>6}{'ratio':>7}{'ceiling':>9}{'gain':>7}{'of ceiling':>12}{'proportional':>14}"
    )
    print(header + "   shares       equal ms  ours ms  probe s  prediction error")
    figures = []
    for slowed, case in found.items():
        costs, plans, times = case["costs"], case["plans"], case["times"]
        gain, least, most = ratio(times["equal"], times["ours"])
        other = ratio(times["equal"], times["proportional"])[0]
        ceiling = statistics.median(speed_up_ceiling(pair) for pair in costs)
        speed_ratio = statistics.median(slow.per_sample / fast.per_sample for fast, slow in costs)
        shares = "-".join(map(str, plans["ours"]))
        probe_seconds = max(case["probe_seconds"])
        errors = ", ".join(f"{statistics.median(rank) - 1:+.0%}" for rank in case["predicted"])
        print(
            f"{slowed:>6}{speed_ratio:7.2f}{ceiling:9.2f}{gain:7.2f}{gain / ceiling:12.2f}"
            f"{other / ceiling:14.2f}   {shares:<10}{1e3 * statistics.median(times['equal']):11.0f}"
            f"{1e3 * statistics.median(times['ours']):9.0f}{probe_seconds:9.1f}  {errors}"
        )
        if slowed == 1:
            title = "equal ranks: step time over that of equal shares"
            figures.append(ratio_figure(title, times["ours"], times["equal"], at_most=1.02))
        else:
            title = f"unequal ranks, speed ratio {speed_ratio:.1f}: gain over equal shares"
            wanted = WANTED[slowed] * ceiling
            figures.append(Figure(title, gain, least, most, wanted, ceiling=ceiling))
            title = f"the same with shares in proportion to speed, ratio {speed_ratio:.1f}"
            figures.append(ratio_figure(title, times["equal"], times["proportional"]))
    equal, *unequal = figures
    publish("heterogeneous", [*unequal, equal, *probe_figures(found.values())])


def probe_figures(cases: Collection[dict[str, object]]) -> list[Figure]:
    """Of all loads and ranks: what the probe took at worst, how far off its predictions are."""
    seconds = [each for case in cases for each in case["probe_seconds"]]
    predicted = [rank for case in cases for rank in case["predicted"]]
    spread = min(map(min, predicted)), max(map(max, predicted))
    worst = max(map(statistics.median, predicted), key=lambda median: max(median, 1 / median))
    title = "step time predicted by the probe over that seen, unseen batch, worst rank and load"
    return [
        Figure("seconds of the probe, worst", max(seconds), min(seconds), max(seconds), at_most=10),
        Figure(title, worst, *spread, at_least=0.9, at_most=1.1, ceiling=1),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        script = [sys.executable, str(WORKERS / "uneven_step.py"), scratch]
        ranks = Contender("uneven", Path(scratch), [[*mpirun(), *script]], **FULL_CORES)
        try:
            for slowed, count in BURNERS.items():
                burners = start_burners(count)
                try:
                    rounds, probes = (4, 2) if options.quick else (ROUNDS[slowed], PROBES)
                    found[slowed] = measure(ranks, rounds, probes)
                finally:
                    for burner in burners:
                        burner.kill()
        finally:
            ranks.end()
    report(found)


if __name__ == "__main__":
    main()
