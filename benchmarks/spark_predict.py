"""Is Spark as fast as plain processes? ``python benchmarks/spark_predict.py [--quick]``.

The same tiles of a large made-up scene, by two executors of one core (``local-cluster[2,1,1024]``)
and by two plain processes with half of the tiles each, in turns in one run, one thread per process.
Both write each tile as a result file; Spark's also have their checksums. Start-up, TensorFlow's
import and the first trace lie in a round that does not count, for both: what counts is the steady
throughput, which a job on a larger scene has. A turn ends when the last tile is on disk, so Spark's
turn includes sending the model, scheduling, and waiting for its result. The ceiling is 1: the plain
processes have nothing to wait for but each other. Wanted: at least 0.9. All files must be equal.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from contenders import ONE_THREAD, WORKERS
from figures import publish, ratio_figure

MASTER = "local-cluster[2,1,1024]"
BANDS = {"vnir": 4, "swir": 2}
CLASSES = ("water", "meadow", "forest", "town")
FILTERS = [32, 32, 32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds of fewer tiles")
    quick = parser.parse_args().quick
    side, rounds = (2048, 3) if quick else (3072, 7)
    os.environ.update(ONE_THREAD)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run = make_run(folder, make_scene(folder / "scene", side))
        times, tiles = measure(folder, run, rounds)
    report(times, tiles)


def make_scene(folder: Path, side: int) -> Path:
    """Smooth fields with noise, a third of it without labels."""
    from hvd_nowcast.grid import Grid
    from hvd_nowcast.shards.scene import Scene, write_scene

    generator = np.random.default_rng(0)

    def field() -> Any:
        coarse = generator.normal(size=(side // 32, side // 32)).astype(np.float32)
        noise = generator.normal(size=(side, side)).astype(np.float32)
        return 100 + 20 * coarse.repeat(32, 0).repeat(32, 1) + 5 * noise

    modalities = {name: np.stack([field() for _ in range(n)]) for name, n in BANDS.items()}
    labels = (field() / 10 % 6).astype(np.uint8)
    labels[labels > len(CLASSES)] = 0
    grid = Grid(30.0 * np.arange(side), -30.0 * np.arange(side))
    folder.mkdir()
    split = np.where(np.arange(side) < side // 2, 1, 2) * (labels > 0)
    write_scene(folder, Scene(modalities, labels, CLASSES, grid, {}), split.astype(np.uint8))
    return folder


def make_run(folder: Path, scene: Path) -> Path:
    """The network of ``configs/landcover_raleigh.yaml`` with the weights it starts from."""
    from hvd_nowcast.config import config_from_dict
    from hvd_nowcast.training.checkpoint import save_arrays, variable_arrays
    from hvd_nowcast.training.landcover import LandcoverTask
    from hvd_nowcast.training.run_folder import RunFolder

    tree = {"task": "landcover", "data": {"shards": str(scene)}, "model": {"filters": FILTERS}}
    config = config_from_dict(tree, "benchmark")
    run = RunFolder(folder / "run")
    run.start(config)
    model = LandcoverTask(config, run).model
    save_arrays(run.best_weights, variable_arrays(model), {"step": 0})
    return run.path


def measure(folder: Path, run: Path, rounds: int) -> tuple[dict[str, list[float]], int]:
    """Seconds of each turn, and the number of tiles."""
    from hvd_nowcast.spark.plan import Request
    from hvd_nowcast.spark.predict import make_pieces
    from hvd_nowcast.spark.session import session_settings, spark_context
    from hvd_nowcast.spark.work import open_work
    from hvd_nowcast.spark.worker import pack

    request = Request((folder / "scene",))
    with open_work(run, request) as work:
        pieces = tuple(work.pieces)
    package = pack(run, request)
    plain = [start_plain(folder, run, part) for part in (0, 1)]
    times: dict[str, list[float]] = {"spark": [], "plain": []}
    settings = session_settings(MASTER, {}, os.environ)
    try:
        with spark_context(MASTER, settings, folder / "spark.log") as context:
            for number in range(rounds + 1):
                out = {name: folder / f"{name}{number}" for name in times}
                started = time.perf_counter()
                out["spark"].mkdir()
                if make_pieces(context, package, pieces, out["spark"]):
                    raise SystemExit("a piece failed")
                between = time.perf_counter()
                turn(plain, out["plain"])
                ended = time.perf_counter()
                if number:  # The first round warms up.
                    times["spark"].append(between - started)
                    times["plain"].append(ended - between)
                require_equal(out["spark"], out["plain"], pieces)
    finally:
        for process in plain:
            process.kill()
            process.wait()
    return times, len(pieces)


def start_plain(folder: Path, run: Path, part: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKERS / "plain_tiles.py"), run, folder / "scene", str(part)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(list(map(str, command)), text=True, **pipes)


def turn(processes: list[subprocess.Popen[str]], out: Path) -> None:
    """Let both processes do their half of the tiles."""
    (out / "tiles").mkdir(parents=True)
    for process in processes:
        print(out, file=process.stdin, flush=True)
    for process in processes:
        if process.stdout.readline() != "done\n":
            raise SystemExit("a plain process failed")


def require_equal(ours: Path, theirs: Path, pieces: tuple[str, ...]) -> None:
    different = [p for p in pieces if (ours / p).read_bytes() != (theirs / p).read_bytes()]
    if different:
        raise SystemExit(f"{len(different)} tiles differ: {different[0]}")


def report(times: dict[str, list[float]], tiles: int) -> None:
    for name, found in times.items():
        seconds = statistics.median(found)
        print(f"{name:<8}{tiles / seconds:7.2f} tiles/s ({min(found):.2f} to {max(found):.2f} s)")
    title = "two Spark executors over two processes, tiles of a scene"
    gain = ratio_figure(title, times["plain"], times["spark"], at_least=0.9, ceiling=1.0)
    publish("spark_predict", [gain], tiles=tiles)


if __name__ == "__main__":
    main()
