"""Is the loader fast and small enough? ``python benchmarks/loader.py [--quick]``.

Speed: frames per second that come out of the loader as batches, counted in megabytes of float32,
over those of a plain ``read()`` of the same frames, as float32, from an uncompressed file into the
arrays of the same batches; both warm in the page cache and interleaved in one run. The ceiling is a
bare read of the stored shards (decompression only) in the same run. The loader hands over stored
codes: the step decodes and scales them, and that cost is printed as a share of a step.

Memory: peak of a fresh process that loads the same number of batches from an archive and from one
ten times as large.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FRAMES_IN, FRAMES_OUT, BATCH = 13, 12, 4
SIDE = 384


def build_archive(folder: Path, frames: int) -> None:
    from hvd_nowcast.shards.build import build_shards
    from hvd_nowcast.shards.split import parse_split
    from hvd_nowcast.shards.synthetic import synthetic_source

    source = synthetic_source(frames, shape=(SIDE, SIDE), seed=1)
    build_shards(source, folder, parse_split("train=1"))


def open_reader(folder: Path):  # noqa: ANN201 - types need TensorFlow
    from hvd_nowcast.config import DataSection
    from hvd_nowcast.loader.pipeline import CodeBatches, WindowReader
    from hvd_nowcast.shards.index import build_index
    from hvd_nowcast.shards.manifest import Manifest
    from hvd_nowcast.shards.reader import ReaderPool

    manifest = Manifest.load(folder)
    index = build_index(manifest, "train", FRAMES_IN, FRAMES_OUT)
    section = DataSection(
        shards=str(folder), frames_in=FRAMES_IN, frames_out=FRAMES_OUT, crop=None, flips=False
    )
    batches = CodeBatches(section, manifest.packing, 0.1, 16)
    return WindowReader(index, ReaderPool(folder)), batches


def float_mb(windows: int) -> float:
    return windows * (FRAMES_IN + FRAMES_OUT) * SIDE * SIDE * 4 / 1e6


def time_loader(reader, batches, windows: list[int]) -> float:
    started = time.perf_counter()
    for batch in batches.evaluation(reader, windows, BATCH):
        assert batch.shape[1] == FRAMES_IN + FRAMES_OUT
    return float_mb(len(windows)) / (time.perf_counter() - started)


def time_stored_read(reader, windows: list[int]) -> float:
    started = time.perf_counter()
    for window in windows:
        reader.read(window)
    return float_mb(len(windows)) / (time.perf_counter() - started)


def time_raw_read(path: Path, windows: list[int]) -> float:
    frame_bytes = SIDE * SIDE * 4
    started = time.perf_counter()
    shape = (FRAMES_IN + FRAMES_OUT, SIDE, SIDE)
    with path.open("rb", buffering=0) as file:
        for first in range(0, len(windows), BATCH):
            part = windows[first : first + BATCH]
            batch = np.empty((len(part), *shape), np.float32)
            for number, window in enumerate(part):
                file.seek(window * frame_bytes)
                file.readinto(batch[number].data.cast("B"))
    return float_mb(len(windows)) / (time.perf_counter() - started)


def write_raw(reader, path: Path) -> None:
    count = len(reader.index)
    with path.open("wb") as file:
        for window in range(0, count, FRAMES_IN + FRAMES_OUT):
            reader.read(window).astype(np.float32).tofile(file)
        reader.read(count - 1).astype(np.float32).tofile(file)


def measure_speed(folder: Path, rounds: int) -> dict[str, list[float]]:
    reader, batches = open_reader(folder)
    raw = folder / "raw.bin"
    write_raw(reader, raw)
    generator = np.random.default_rng(0)
    speeds: dict[str, list[float]] = {"raw": [], "stored": [], "loader": []}
    last = len(reader.index) - (FRAMES_IN + FRAMES_OUT)
    for number in range(rounds + 1):
        windows = generator.integers(0, max(last, 1), 24).tolist()
        found = {
            "raw": time_raw_read(raw, windows),
            "stored": time_stored_read(reader, windows),
            "loader": time_loader(reader, batches, windows),
        }
        for name, speed in found.items() if number else ():  # The first round warms up.
            speeds[name].append(speed)
    return speeds


def measure_memory(folder: Path) -> float:
    """Peak megabytes of a fresh process that loads 60 batches."""
    command = [sys.executable, __file__, "--child", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def child(folder: Path) -> None:
    reader, batches = open_reader(folder)
    windows = np.random.default_rng(1).integers(0, len(reader.index), 240).tolist()
    for _ in batches.evaluation(reader, windows, BATCH):
        pass
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    rounds = 5 if options.quick else 15
    with tempfile.TemporaryDirectory() as scratch:
        small, large = Path(scratch, "small"), Path(scratch, "large")
        build_archive(small, 120)
        build_archive(large, 1200)
        speeds = measure_speed(small, rounds)
        memory = [(measure_memory(small), measure_memory(large)) for _ in range(3)]
    report(speeds, memory)


def report(speeds: dict[str, list[float]], memory: list[tuple[float, float]]) -> None:
    ratios = [a / b for a, b in zip(speeds["loader"], speeds["raw"], strict=True)]
    ceilings = [a / b for a, b in zip(speeds["stored"], speeds["raw"], strict=True)]
    growth = [large / small for small, large in memory]
    print(f"{'float32 MB/s':<34}{'median':>8}{'min':>8}{'max':>8}")
    for name, title in (
        ("raw", "plain read() of float32 frames"),
        ("stored", "read and decompress stored codes"),
        ("loader", "loader: batches of stored codes"),
    ):
        values = speeds[name]
        print(f"{title:<34}{statistics.median(values):8.0f}{min(values):8.0f}{max(values):8.0f}")
    print(f"loader / read(): {statistics.median(ratios):.2f} (wanted at least 0.6)")
    print(
        f"peak memory, archive x 10: {statistics.median(growth):.3f} times "
        f"({memory[0][0]:.0f} -> {memory[0][1]:.0f} MB; wanted at most 1.05)"
    )
    ratio, ceiling = statistics.median(ratios), statistics.median(ceilings)
    result = {
        "name": "loader",
        "ratio": round(ratio, 3),
        "ceiling": round(ceiling, 3),
        "fraction_of_ceiling": round(ratio / ceiling, 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "memory_growth": round(statistics.median(growth), 4),
        "load": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
