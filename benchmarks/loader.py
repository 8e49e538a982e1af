"""Is the loader fast and small enough? ``python benchmarks/loader.py [--quick]``.

Speed: frames per second that come out of the loader as batches, counted in megabytes of float32,
over those of a plain ``read()`` of the same frames, as float32, from an uncompressed file into
batches of the same size; both warm in the page cache and interleaved in one run. The ceiling is a
bare read of the stored shards (decompression only) in the same run. Shards are of the SEVIR shape,
once as its one-byte liquid and once as two-byte rain rates. The loader hands over stored codes,
which the training step decodes.

Memory: peak of a fresh process that loads the same number of batches from an archive and from one
ten times as large, through the scratch file of a training.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from figures import publish, ratio, ratio_figure

FRAMES_IN, FRAMES_OUT, BATCH = 13, 12, 4
SIDE = 384
FRAME_BYTES = SIDE * SIDE * 4
WINDOW_BYTES = (FRAMES_IN + FRAMES_OUT) * FRAME_BYTES
WINDOWS = 240


def build_archive(folder: Path, frames: int, dtype: str) -> None:
    from hvd_nowcast.shards.build import build_shards
    from hvd_nowcast.shards.schema import Packing
    from hvd_nowcast.shards.split import parse_split
    from hvd_nowcast.shards.synthetic import synthetic_source

    source = synthetic_source(frames, shape=(SIDE, SIDE), seed=1)
    if dtype == "uint8":
        source = replace(
            source,
            quantity="vil",
            packing=Packing("uint8", 1.0, 0.0, 255),
            read=lambda number, read=source.read: liquid_code(read(number)),
        )
    build_shards(source, folder, parse_split("train=1"))


def liquid_code(rain):  # noqa: ANN001, ANN201 - arrays
    """Spread rain over the codes 16 to 254, as SEVIR does with liquid; dry is 0."""
    decibel = 16 * np.log10(np.maximum(rain, 0.1) / 0.1)
    return np.where(rain > 0, np.clip(16 + 4 * decibel, 16, 254), 0).astype(np.float32)


def open_reader(folder: Path, cached: bool = False):  # noqa: ANN201 - types need TensorFlow
    from hvd_nowcast.config import DataSection
    from hvd_nowcast.loader.frame_cache import FrameCache
    from hvd_nowcast.loader.pipeline import CodeBatches, WindowReader
    from hvd_nowcast.shards.index import build_index
    from hvd_nowcast.shards.manifest import Manifest
    from hvd_nowcast.shards.reader import ReaderPool

    manifest = Manifest.load(folder)
    index = build_index(manifest, "train", FRAMES_IN, FRAMES_OUT)
    section = DataSection(
        shards=str(folder), frames_in=FRAMES_IN, frames_out=FRAMES_OUT, crop=None, flips=False
    )
    batches = CodeBatches(section, manifest.packing, manifest.grid.shape, 0.1, 16)
    frames = FrameCache(ReaderPool(folder), manifest) if cached else ReaderPool(folder)
    return WindowReader(index, frames), batches


def float_mb(windows: int) -> float:
    return windows * WINDOW_BYTES / 1e6


def time_loader(reader, batches, windows: list[int]) -> float:
    started = time.perf_counter()
    for batch in batches.evaluation(reader, windows, BATCH):
        assert batch.codes.shape[1] == FRAMES_IN + FRAMES_OUT
    return float_mb(len(windows)) / (time.perf_counter() - started)


def time_stored_read(reader, windows: list[int]) -> float:
    started = time.perf_counter()
    for window in windows:
        reader.read(window)
    return float_mb(len(windows)) / (time.perf_counter() - started)


def time_raw_read(path: Path, windows: list[int]) -> float:
    started = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        for first in range(0, len(windows), BATCH):
            part = windows[first : first + BATCH]
            batch = np.empty((len(part), WINDOW_BYTES), np.uint8)
            for number, window in enumerate(part):
                file.seek(window * FRAME_BYTES)
                assert file.readinto(batch[number].data) == WINDOW_BYTES
    return float_mb(len(windows)) / (time.perf_counter() - started)


def write_raw(reader, path: Path) -> None:
    """The frames of the archive, one after another, as float32."""
    count = len(reader.index)
    with path.open("wb") as file:
        for window in range(0, count, FRAMES_IN + FRAMES_OUT):
            reader.read(window).astype(np.float32).tofile(file)
        reader.read(count - 1).astype(np.float32).tofile(file)


def measure_speed(archives: dict[str, Path], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Speeds by kind of archive and way of reading; everything interleaved."""
    speeds: dict[str, dict[str, list[float]]] = {
        dtype: {"raw": [], "stored": [], "loader": []} for dtype in archives
    }
    opened = {dtype: open_reader(folder) for dtype, folder in archives.items()}
    for dtype, folder in archives.items():
        write_raw(opened[dtype][0], folder / "raw.bin")
    generator = np.random.default_rng(0)
    for number in range(rounds + 1):
        for dtype, (reader, batches) in opened.items():
            last = len(reader.index) - (FRAMES_IN + FRAMES_OUT)
            windows = generator.integers(0, last, WINDOWS).tolist()
            found = {
                "raw": time_raw_read(archives[dtype] / "raw.bin", windows),
                "stored": time_stored_read(reader, windows),
                "loader": time_loader(reader, batches, windows),
            }
            for name, speed in found.items() if number else ():  # The first round warms up.
                speeds[dtype][name].append(speed)
    return speeds


def measure_memory(folder: Path) -> float:
    """Peak megabytes of a fresh process that loads 60 batches."""
    command = [sys.executable, __file__, "--child", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def child(folder: Path) -> None:
    reader, batches = open_reader(folder, cached=True)
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
        small = Path(scratch, "small")
        build_archive(small, 120, "uint16")
        archives = {dtype: Path(scratch, dtype) for dtype in ("uint8", "uint16")}
        for dtype, folder in archives.items():
            build_archive(folder, 1200, dtype)
        speeds = measure_speed(archives, rounds)
        memory = [(measure_memory(small), measure_memory(archives["uint16"])) for _ in range(3)]
    report(speeds, memory)


def report(speeds: dict[str, dict[str, list[float]]], memory: list[tuple[float, float]]) -> None:
    figures = []
    print(f"{'float32 MB/s':<50}{'median':>8}{'min':>8}{'max':>8}")
    for dtype, found in speeds.items():
        for name, title in (
            ("raw", "plain read() of float32 frames"),
            ("stored", f"read and decompress {dtype} shards (ceiling)"),
            ("loader", f"loader, {dtype} shards"),
        ):
            values = found[name]
            middle = statistics.median(values)
            print(f"{title:<50}{middle:8.0f}{min(values):8.0f}{max(values):8.0f}")
        ceiling = ratio(found["stored"], found["raw"])[0]
        title = f"loader over read() of float32, {dtype} shards"
        figures.append(ratio_figure(title, found["loader"], found["raw"], 0.6, ceiling=ceiling))
    small, large = zip(*memory, strict=True)
    title = "memory of the loader, archive ten times as large"
    publish("loader", [*figures, ratio_figure(title, large, small, at_most=1.05, ceiling=1.0)])


if __name__ == "__main__":
    main()
