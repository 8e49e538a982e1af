"""How fast is a step on two ranks? ``python benchmarks/step.py [--quick]``.

Two ranks of one thread, each on a core of its own, the same U-Net and batch everywhere. Contenders
take turns in blocks of steps in one run, and those whose turn it is not wait, stopped by a signal:

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
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
WORKERS = HERE / "step_workers"
TORCH = "torch==2.13.0"
BLOCK_STEPS = 5
LONGEST_BLOCK_SECONDS = 300
TURNS = {
    "horovod": ["ours", "hand", "apart", "alone"],
    "mirrored": ["step"],
    "torch-contiguous": ["step"],
    "torch-channels-last": ["step"],
}
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"
)


class Contender:
    """Two worker processes that run blocks of steps when told to."""

    def __init__(
        self, name: str, folder: Path, commands: list[list[str]], **variables: str
    ) -> None:
        self.name = name
        self._folder = folder
        self._asked = 0
        environment = {**os.environ, **ONE_THREAD, **variables}
        self._log = (folder / f"{name}.log").open("w")
        self._started = [
            subprocess.Popen(
                command,
                env={**environment, **_task(rank, variables)},
                stdout=self._log,
                stderr=subprocess.STDOUT,
            )
            for rank, command in enumerate(commands)
        ]
        self._pids = [int(self._read(f"{name}.{rank}.pid")) for rank in (0, 1)]
        self.pause()

    def pause(self) -> None:
        """Stop both processes, but for one that would take that for a failure of its peer."""
        for pid in self._pids if self.name != "mirrored" else ():
            os.kill(pid, signal.SIGSTOP)

    def ask(self, variant: str, steps: int) -> float:
        """Median seconds of a step in a block; that of the slower rank."""
        return max(statistics.median(s) for s in self.answers(variant, steps) if s)

    def answers(self, variant: str, steps: int) -> list[list[float]]:
        """What each rank answers."""
        for pid in self._pids:
            os.kill(pid, signal.SIGCONT)
        aside = self._folder / f"{self.name}.question"
        aside.write_text(json.dumps([variant, steps]))
        aside.rename(self._folder / f"{self.name}.question.{self._asked}")
        found = [
            json.loads(self._read(f"{self.name}.{rank}.answer.{self._asked}")) for rank in (0, 1)
        ]
        self._asked += 1
        self.pause()
        return found

    def end(self) -> None:
        """Let the processes leave, or kill them."""
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        question = self._folder / f"{self.name}.question.{self._asked}"
        question.write_text(json.dumps(["stop", 0]))
        for process in self._started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()

    def _read(self, name: str) -> str:
        path, limit = self._folder / name, time.monotonic() + LONGEST_BLOCK_SECONDS
        while not path.exists() or not path.read_text():
            if time.monotonic() > limit or any(p.poll() for p in self._started):
                self._log.flush()
                log = (self._folder / f"{self.name}.log").read_text()
                raise SystemExit(f"{self.name} did not answer:\n{log[-3000:]}")
            time.sleep(0.01)
        return path.read_text()


def _task(rank: int, variables: dict[str, str]) -> dict[str, str]:
    if "WORKERS" not in variables:
        return {}
    cluster = {"worker": variables["WORKERS"].split(",")}
    return {
        "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})
    }


def free_address() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def start_all(folder: Path) -> list[Contender]:
    mpirun = ["mpirun", "-n", "2", "--oversubscribe", "--bind-to", "none"]
    mpirun += ["--allow-run-as-root"] if os.getuid() == 0 else []
    python, torch = sys.executable, torch_python()
    address = f"tcp://{free_address()}"
    contenders = [
        Contender(
            "horovod",
            folder,
            [[*mpirun, python, str(WORKERS / "horovod_step.py"), str(folder)]],
            HVD_NOWCAST_RANKS="2",
            OMPI_MCA_mpi_yield_when_idle="1",
        ),
        Contender(
            "mirrored",
            folder,
            [[python, str(WORKERS / "mirrored_step.py"), str(folder)]] * 2,
            WORKERS=f"{free_address()},{free_address()}",
        ),
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
        for contender in contenders:
            for variant in TURNS[contender.name]:
                seconds = contender.ask(variant, BLOCK_STEPS)
                name = variant if contender.name == "horovod" else contender.name
                if number:  # The first round warms up.
                    found.setdefault(name, []).append(seconds)
    return found


def ratio(above: list[float], below: list[float]) -> tuple[float, float, float]:
    """Median, least and largest ratio of the rounds."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


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
    comparisons = {
        "ours / hand": (ratio(found["ours"], found["hand"]), "at most 1.02"),
        "weak-scaling efficiency": (ratio(found["alone"], found["ours"]), "at least 0.95"),
        "its ceiling, no exchange": (ratio(found["alone"], found["apart"]), ""),
        "ours / mirrored": (ratio(found["ours"], found["mirrored"]), "below 1"),
        "ours / DDP": (ratio(found["ours"], found["torch-contiguous"]), "below 1"),
        "ours / DDP, channels last": (
            ratio(found["ours"], found["torch-channels-last"]),
            "below 1",
        ),
    }
    for title, ((middle, least, most), wanted) in comparisons.items():
        remark = f", wanted {wanted}" if wanted else ""
        print(f"{title:<28}{middle:.3f} ({least:.3f} to {most:.3f}{remark})")
    efficiency = comparisons["weak-scaling efficiency"][0]
    ceiling = comparisons["its ceiling, no exchange"][0][0]
    result = {
        "name": "step",
        "ratio": round(efficiency[0], 3),
        "ceiling": round(ceiling, 3),
        "fraction_of_ceiling": round(efficiency[0] / ceiling, 3),
        "spread": [round(value, 3) for value in efficiency[1:]],
        "comparisons": {title: round(r[0], 3) for title, (r, _) in comparisons.items()},
        "load": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        contenders = start_all(Path(scratch))
        try:
            found = measure(contenders, 4 if options.quick else 15)
        finally:
            for contender in contenders:
                contender.end()
    report(found)


if __name__ == "__main__":
    main()
