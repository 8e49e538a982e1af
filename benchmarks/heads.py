"""What does it gain to spread heads over ranks? ``python benchmarks/heads.py [--quick]``.

The same flood network on one rank and on two, one thread and one core each, in turns in one run.
The ceiling follows from the times of the parts on one rank: the sum of all heads and the rest, over
the largest group of heads and half of the rest, which is divided by samples. Wanted: 0.9 of it. The
bytes that a rank sends in a step are counted from the shapes of what travels.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from contenders import FULL_CORES, ONE_THREAD, WORKERS, Contender, mpirun
from figures import publish, ratio_figure

BLOCK_STEPS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    rounds = 5 if parser.parse_args().quick else 15
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        worker = [sys.executable, str(WORKERS / "heads_step.py"), scratch]
        subprocess.run([*worker, "make"], check=True, env={**os.environ, **ONE_THREAD})
        contender = Contender("heads", folder, [[*mpirun(), *worker]], **FULL_CORES)
        try:
            times: dict[str, list[float]] = {"alone": [], "spread": []}
            for number in range(rounds + 1):
                for variant, found in times.items():
                    seconds = contender.ask(variant, BLOCK_STEPS)
                    if number:  # The first round warms up.
                        found.append(seconds)
            (largest, heads, rest, sent), *_ = contender.answers("parts", 0)
        finally:
            contender.end()
    report(times, largest, heads, rest, int(sent))


def report(
    times: dict[str, list[float]], largest: float, heads: float, rest: float, sent: int
) -> None:
    ceiling = (heads + rest) / (largest + rest / 2)
    for name, found in times.items():
        print(f"{name:<8}{1e3 * statistics.median(found):7.0f} ms a step")
    print(f"heads {1e3 * heads:.0f} ms, on one rank {1e3 * largest:.0f}; rest {1e3 * rest:.0f}")
    print(f"a rank sends {sent} bytes in a step")
    alone, spread = times["alone"], times["spread"]
    title = "flood heads on two ranks over one"
    gain = ratio_figure(title, alone, spread, 0.9 * ceiling, ceiling=ceiling)
    publish("heads", [gain], bytes_per_step=sent)


if __name__ == "__main__":
    main()
