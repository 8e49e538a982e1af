"""How fast is a step on two ranks? ``python benchmarks/step.py [--quick]``.

Two ranks of one thread, each on a core of its own, the same U-Net, batch and loss everywhere, which
leaves missing pixels out. Contenders take turns in blocks of steps in one run, and those whose turn
it is not wait, stopped by a signal:

- our step over a loop written by hand with one grouped all-reduce (wanted: at most 1.02);
- one rank alone over two ranks together: the weak-scaling efficiency (wanted: at least 0.95). The
  ceiling is two ranks that compute at the same time and exchange nothing: what the two cores take
  from each other;
- our step over that of ``tf.distribute.MultiWorkerMirroredStrategy`` and of PyTorch's
  DistributedDataParallel with gloo on loopback, in both memory layouts (wanted: below 1).

PyTorch is installed into ``.venv-benchmarks`` the first time, or ``TORCH_PYTHON`` names a Python
that has it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from contenders import FULL_CORES, WORKERS, Contender, free_address, mpirun
from figures import publish, ratio, ratio_figure

HERE = Path(__file__).parent
TORCH = "torch==2.13.0"
BLOCK_STEPS = 5
MIRRORED_REASON = "level: both wait for the same convolutions, and 1 is within the spread"
TURNS = {
    "horovod": ["ours", "hand", "apart", "alone"],
    "mirrored": ["step"],
    "torch-contiguous": ["step"],
    "torch-channels-last": ["step"],
}


def start_all(folder: Path) -> list[Contender]:
    python, torch = sys.executable, torch_python()
    ours = [*mpirun(), python, str(WORKERS / "horovod_step.py"), str(folder)]
    mirrored = [[python, str(WORKERS / "mirrored_step.py"), str(folder)]] * 2
    workers = f"{free_address()},{free_address()}"
    contenders = [
        Contender("horovod", folder, [ours], **FULL_CORES),
        Contender("mirrored", folder, mirrored, pausable=False, WORKERS=workers),
    ]
    for layout in ("contiguous", "channels-last"):
        address = f"tcp://{free_address()}"
        script = [torch, str(WORKERS / "torch_step.py"), str(folder)]
        commands = [[*script, str(rank), address, layout] for rank in (0, 1)]
        contenders.append(Contender(f"torch-{layout}", folder, commands))
    return contenders


def torch_python() -> str:
    """Python with PyTorch; installed into a folder of its own the first time."""
    if "TORCH_PYTHON" in os.environ:
        return os.environ["TORCH_PYTHON"]
    python = HERE.parent / ".venv-benchmarks/bin/python"
    if not python.exists():
        print(f"installing {TORCH} into {python.parents[1]}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", TORCH, "numpy"], check=True)
    return str(python)


def measure(contenders: list[Contender], rounds: int) -> dict[str, list[float]]:
    """Seconds per step by contender and variant, one value a round."""
    found: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        # There and back: the first after a pause is slower, and so may the machine become.
        way = -1 if number % 2 else 1
        for contender in contenders[::way]:
            for variant in TURNS[contender.name][::way]:
                seconds = contender.ask(variant, BLOCK_STEPS)
                name = variant if contender.name == "horovod" else contender.name
                if number:  # The first round warms up.
                    found.setdefault(name, []).append(seconds)
    return found


def report(found: dict[str, list[float]]) -> None:
    print(f"{'milliseconds a step, 2 ranks x 1 thread':<44}{'median':>8}{'min':>8}{'max':>8}")
    for name, title in (
        ("ours", "ours"),
        ("hand", "written by hand: tape, grouped_allreduce"),
        ("mirrored", "MultiWorkerMirroredStrategy"),
        ("torch-contiguous", "PyTorch DDP, gloo"),
        ("torch-channels-last", "PyTorch DDP, gloo, channels last"),
        ("apart", "two ranks that exchange nothing"),
        ("alone", "one rank alone"),
    ):
        values = [1e3 * seconds for seconds in found[name]]
        middle = statistics.median(values)
        print(f"{title:<44}{middle:8.0f}{min(values):8.0f}{max(values):8.0f}")
    ours, ceiling = found["ours"], ratio(found["alone"], found["apart"])[0]
    peers = {
        "step over MultiWorkerMirroredStrategy": ("mirrored", MIRRORED_REASON),
        "step over PyTorch DDP with gloo": ("torch-contiguous", ""),
        "step over PyTorch DDP, channels last": ("torch-channels-last", ""),
    }
    publish(
        "step",
        [
            ratio_figure(
                "two ranks against one: efficiency", found["alone"], ours, 0.95, ceiling=ceiling
            ),
            ratio_figure("step over a loop written by hand", ours, found["hand"], at_most=1.02),
            *(
                replace(ratio_figure(title, ours, found[peer], at_most=1), reason=reason)
                for title, (peer, reason) in peers.items()
            ),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        contenders = start_all(Path(scratch))
        try:
            found = measure(contenders, 4 if options.quick else 40)
        finally:
            for contender in contenders:
                contender.end()
    report(found)


if __name__ == "__main__":
    main()
