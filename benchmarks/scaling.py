"""What will more ranks bring? ``python benchmarks/scaling.py [--quick]``.

Measured here, on up to four ranks of one thread: all-reduces of many sizes through our
communicator, and steps of a network with several batches. Two lines are fitted to them:

- an all-reduce of n bytes over p ranks takes ``c + 2 (p - 1) a + 2 (p - 1) / p n b`` seconds, with
  c for Horovod's cycle, a for a message, b for a byte and its addition (Thakur et al. 2005,
  doi:10.1177/1094342005051521), and a and b once more for each further rank on the same core;
- the computation of s samples takes ``f + d s`` seconds.

Proof: a step with a batch that no line saw, and an all-reduce of a size that no line saw, wanted
within 10 % of their prediction. Then a model, labelled so: efficiency and time to train for 8 to
1,024 ranks on named networks, with a and b of the network and c of this machine. ``--step-ms``
and ``--parameters`` describe another accelerator and network; the default is a U-Net of the size
of Samsi et al.'s group, 16.6 million weights, and their 59 hours on one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from contenders import FULL_CORES, WORKERS, Contender, mpirun
from figures import Figure, publish

SIZES = [2**14, 2**16, 2**18, 2**20, 2**22, 2**24]
HELD_OUT_SIZE = 6 * 2**20
BATCHES, HELD_OUT_BATCH = (2, 4, 8), 6
REDUCTIONS, STEPS = 10, 3
# Bytes per second and seconds of a message between two nodes: what vendors and sites report.
NETWORKS = {
    "25 Gb Ethernet": (3.1e9, 30e-6),
    "100 Gb InfiniBand": (12.5e9, 2e-6),
    "200 Gb InfiniBand": (25e9, 2e-6),
    "400 Gb InfiniBand": (50e9, 2e-6),
}
RANKS = (8, 16, 32, 64, 128, 256, 512, 1024)
HOURS_ON_ONE = 59.0


def terms(ranks: int, size: float, crowd: float = 1.0) -> np.ndarray:
    """What c, a and b are multiplied with; ranks that share a core wait for each other."""
    return np.array([1.0, crowd * 2 * (ranks - 1), crowd * 2 * (ranks - 1) / ranks * size])


def terms_here(ranks: int, size: float) -> np.ndarray:
    return terms(ranks, size, max(1.0, ranks / len(os.sched_getaffinity(0))))


def fit_reduction(seconds: dict[tuple[int, int], float]) -> np.ndarray:
    """c, a and b, none negative, with the least relative errors."""
    from scipy.optimize import nnls

    rows = [terms_here(*point) / taken for point, taken in seconds.items()]
    return nnls(np.array(rows), np.ones(len(rows)))[0]


def measure(ranks: int, rounds: int) -> dict[str, list[float]]:
    """Seconds by variant, one value a round."""
    variants = [f"reduce-{size}" for size in (*SIZES, HELD_OUT_SIZE)]
    if ranks == 2:
        variants += [f"compute-{batch}" for batch in BATCHES]
        variants += [f"step-{HELD_OUT_BATCH}"]
    found: dict[str, list[float]] = {variant: [] for variant in variants}
    with tempfile.TemporaryDirectory() as scratch:
        command = [*mpirun(ranks), sys.executable, str(WORKERS / "scaling_step.py"), scratch]
        contender = Contender("scaling", Path(scratch), [command], ranks=ranks, **FULL_CORES)
        try:
            for number in range(rounds + 1):
                for variant in variants:
                    count = REDUCTIONS if variant.startswith("reduce") else STEPS
                    seconds = contender.ask(variant, count)
                    if number:  # The first round warms up.
                        found[variant].append(seconds)
            found["bytes"] = contender.answers("bytes-0", 1)[0]
        finally:
            contender.end()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--step-ms", type=float, default=400.0, help="of one accelerator, a batch")
    parser.add_argument("--parameters", type=float, default=16.6e6, help="weights of the network")
    options = parser.parse_args()
    rounds = 4 if options.quick else 10
    found = {ranks: measure(ranks, rounds) for ranks in (2, 3, 4)}
    figures, cycle, error = report(found)
    extrapolate(cycle, error, options.step_ms / 1e3, 4 * options.parameters)
    publish("scaling", figures)


def report(found: dict[int, dict[str, list[float]]]) -> tuple[list[Figure], float, float]:
    """Figures, seconds of the cycle, and the largest relative error of the fit."""
    points = {
        (ranks, size): statistics.median(times[f"reduce-{size}"])
        for ranks, times in found.items()
        for size in SIZES
    }
    fitted = fit_reduction(points)
    cycle, message, byte = fitted
    print(f"c {1e3 * cycle:.2f} ms, a {1e6 * message:.0f} us, b {1e9 * byte:.2f} ns per byte")
    print(f"{'all-reduce':<16}" + "".join(f"{size / 1024:>12.0f} kB" for size in SIZES))
    errors = []
    for ranks in found:
        row = [(points[ranks, size], float(terms_here(ranks, size) @ fitted)) for size in SIZES]
        errors += [abs(predicted / seen - 1) for seen, predicted in row]
        cells = (f"{1e3 * seen:6.2f}/{1e3 * predicted:5.2f} ms" for seen, predicted in row)
        print(f"{ranks} ranks, fit    " + " ".join(cells))
    two = found[2]
    sizes = [statistics.median(two[f"compute-{batch}"]) for batch in BATCHES]
    slope, fixed = np.polyfit(BATCHES, sizes, 1)
    exchange = float(terms(2, two["bytes"][0]) @ fitted)
    step = fixed + slope * HELD_OUT_BATCH + exchange
    print(f"computation {1e3 * fixed:.1f} ms and {1e3 * slope:.1f} ms a sample, exchange ", end="")
    print(f"{1e3 * exchange:.1f} ms of {two['bytes'][0] / 1e6:.1f} MB")
    reduction = float(terms(2, HELD_OUT_SIZE) @ fitted)
    figures = [
        _held_out("step time predicted over measured, unseen batch", step, two["step-6"]),
        _held_out(
            "all-reduce predicted over measured, unseen size",
            reduction,
            two[f"reduce-{HELD_OUT_SIZE}"],
        ),
    ]
    return figures, float(cycle), max(errors)


def _held_out(title: str, predicted: float, seen: list[float]) -> Figure:
    ratios = [predicted / seconds for seconds in seen]
    value = statistics.median(ratios)
    # Within 10 % on the side where it lies.
    side = {"at_least": 0.9} if value < 1 else {"at_most": 1.1}
    return Figure(title, value, min(ratios), max(ratios), ceiling=1.0, **side)


def extrapolate(cycle: float, error: float, step: float, size: float) -> None:
    """Print efficiency and hours for more ranks than there are: a model, not a measurement."""
    print(
        f"\nModel, not measured: {1e3 * step:.0f} ms of computation a step, {size / 1e6:.0f} MB of "
        f"gradients, {HOURS_ON_ONE:.0f} h on one; an error of {error:.0%} in the exchange"
    )
    print(f"{'efficiency, hours':<20}" + "".join(f"{ranks:>16}" for ranks in RANKS))
    for name, (bandwidth, latency) in NETWORKS.items():
        cells = []
        for ranks in RANKS:
            exchange = float(terms(ranks, size) @ [cycle, latency, 1 / bandwidth])
            efficiency = step / (step + exchange)
            spread = step * exchange * error / (step + exchange) ** 2
            hours = HOURS_ON_ONE / ranks / efficiency
            cells.append(f"{efficiency:6.2f}±{spread:.2f} {hours:5.2f}")
        print(f"{name:<20}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
