"""What do the ways to place a network cost? ``python benchmarks/placements.py [--quick]``.

``hvd-nowcast compare-parallel`` on the real scene of Raleigh (``data/raleigh``), two ranks with a
thread each: all of the network on both (``data``), a modality on each (``branch``), the head on a
rank of its own (``layer``). First on two hosts (network namespaces): bytes counted by their network
cards over those predicted, wanted within 10 %. Then on this host, in rounds: seconds of a step over
those of ``data``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from contenders import FULL_CORES, ONE_THREAD, mpirun
from figures import Figure, publish, ratio_figure
from hosts import missing_for_hosts, open_hosts

CONFIG = Path(__file__).parents[1] / "configs/landcover_raleigh.yaml"
COMPARE = [sys.executable, "-m", "hvd_nowcast", "compare-parallel", str(CONFIG)]
ENVIRONMENT = {**os.environ, **ONE_THREAD, **FULL_CORES}
STEPS = 40
LONGEST_SECONDS = 600
Placements = dict[str, dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", default="data/raleigh", help="the scene, see README")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args()
    settings = (f"data.shards={Path(options.shards).resolve()}", "training.validation_samples=200")
    compare = [*COMPARE, *(word for setting in settings for word in ("--set", setting))]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        wired = on_two_hosts(compare, folder)
        rounds = [on_this_host(compare, folder / str(n)) for n in range(2 if options.quick else 5)]
    report(wired, rounds)


def on_two_hosts(compare: list[str], folder: Path) -> Placements:
    """Placements as two hosts saw them; nothing where hosts cannot be made."""
    if missing := missing_for_hosts():
        print(f"bytes on the wire are not counted: hosts cannot be made: {missing}")
        return {}
    with open_hosts(2, folder / "ssh") as hosts:
        command = [*compare, "--run", str(folder / "wired"), "--steps", str(STEPS)]
        job = hosts.mpirun(command, ENVIRONMENT)
        printed, _ = job.communicate(timeout=LONGEST_SECONDS)
    return read(folder / "wired", job.returncode, printed)


def on_this_host(compare: list[str], folder: Path) -> Placements:
    command = [*mpirun(), *compare, "--run", str(folder), "--steps", str(STEPS)]
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, timeout=LONGEST_SECONDS
    )
    return read(folder, done.returncode, done.stdout + done.stderr)


def read(folder: Path, status: int, printed: str) -> Placements:
    """What a comparison has found, by the name of the placement."""
    if status:
        raise SystemExit(f"no comparison:\n{printed[-3000:]}")
    found = json.loads((folder / "comparison.json").read_text())["placements"]
    return {one["placement"]: one for one in found}


def report(wired: Placements, rounds: list[Placements]) -> None:
    figures = []
    for name, one in wired.items():
        sent, wire = one["sent_bytes"], one["wire_bytes"]
        print(f"{name:<8}{sent:10.0f} bytes a step, on the wire {wire:.0f}")
        share = wire / sent
        title = f"placement `{name}`: bytes on the wire over predicted"
        figures.append(Figure(title, share, share, share, at_least=0.9, at_most=1.1))
    seconds = {name: [one[name]["step_seconds"] for one in rounds] for name in rounds[0]}
    for name in ("branch", "layer"):
        title = f"placement `{name}`: step time over that of `data`"
        figures.append(ratio_figure(title, seconds[name], seconds["data"]))
    publish("placements", figures)


if __name__ == "__main__":
    main()
