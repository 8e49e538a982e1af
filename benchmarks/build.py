"""How fast are shards built? ``python benchmarks/build.py [--quick]``.

Synthetic radar frames of 384 x 384 are made once and kept in memory; shards are built from them,
checksums, index and manifest included, in turns with a bare write and fsync of the same packed
numbers, two bytes each and not compressed, which is the ceiling.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from figures import publish, ratio, ratio_figure

FRAMES, SIDE = 300, 384


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    rounds = 3 if parser.parse_args().quick else 9
    from hvd_nowcast.shards.build import build_shards
    from hvd_nowcast.shards.split import parse_split
    from hvd_nowcast.shards.synthetic import synthetic_source

    source = synthetic_source(FRAMES, shape=(SIDE, SIDE), seed=1)
    frames = [source.read(number) for number in range(FRAMES)]
    source = replace(source, read=lambda number: frames[number])
    split = parse_split("train=1")
    packed = [source.packing.encode(frame) for frame in frames]
    times: dict[str, list[float]] = {"build": [], "write": [], "float": []}
    size = 0
    # In the working directory, because /tmp is often memory.
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        for number in range(rounds + 1):
            folder = Path(scratch, f"shards{number}")
            started = time.perf_counter()
            build_shards(source, folder, split)
            built = time.perf_counter() - started
            found = {"build": built, "write": bare_write(packed, Path(scratch, "bare"))}
            found["float"] = bare_write(frames, Path(scratch, "bare"))
            size = sum(file.stat().st_size for file in folder.rglob("*.nc"))
            for name, seconds in found.items() if number else ():  # The first round warms up.
                times[name].append(seconds)
    raw = FRAMES * SIDE * SIDE * 4
    print(f"{FRAMES / statistics.median(times['build']):.0f} frames of {SIDE} x {SIDE} a second")
    print(f"{raw / 1e6:.0f} MB of float32 become {size / 1e6:.0f} MB")
    ceiling = ratio(times["float"], times["write"])[0]
    title = "building shards, speed over a bare write of the float32 frames"
    publish("build", [ratio_figure(title, times["float"], times["build"], ceiling=ceiling)])


def bare_write(arrays: list[np.ndarray], path: Path) -> float:
    """Seconds to write arrays one after another."""
    started = time.perf_counter()
    with path.open("wb") as file:
        for array in arrays:
            array.tofile(file)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
