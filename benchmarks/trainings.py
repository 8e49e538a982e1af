"""Archives, trainings and scores that a benchmark needs, each made once and kept."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1]
PROGRAM = [sys.executable, "-m", "hvd_nowcast"]
STEPS, QUICK_STEPS = 2500, 250


def training_parser(description: str) -> ArgumentParser:
    """Options of every benchmark that trains."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--steps", type=int, help=f"of each training, {STEPS} when left out")
    parser.add_argument("--ranks", type=int, default=1, help="of each training")
    parser.add_argument(
        "--set", action="append", default=[], help="section.key=value, for training"
    )
    parser.add_argument("--source", type=Path, default=HERE.parent / "shared/data/radar")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where archives are")
    parser.add_argument("--runs", type=Path, help="folder of the trainings")
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps")
    return parser


def parse(parser: ArgumentParser, name: str) -> Namespace:
    """Options, with what depends on others filled in; runs go to ``runs/NAME``."""
    options = parser.parse_args()
    options.steps = options.steps or (QUICK_STEPS if options.quick else STEPS)
    options.runs = options.runs or HERE / f"runs/{name}{'_quick' if options.quick else ''}"
    return options


def build(file: Path, folder: Path, split: str) -> None:
    """Build an archive where there is none."""
    if not (folder / "manifest.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        call([*PROGRAM, "shards", "build", file, "--out", folder, "--split", split])


def train(config: Path, run: Path, settings: Mapping[str, object], options: Namespace) -> None:
    """Train, or go on with what was stopped; nothing when it has ended."""
    if (run / "final.json").exists():
        return
    every = max(1, options.steps // 8)
    settings = {
        "training.steps": options.steps,
        "training.validate_every": every,
        "training.checkpoint_every": every,
        **settings,
    }
    changes = [*(f"{key}={value}" for key, value in settings.items()), *options.set]
    rest = [config, "--run", run, "--resume", *(w for one in changes for w in ("--set", one))]
    ranks = options.ranks
    start = [HERE / "launch/local.sh", ranks] if ranks > 1 else [*PROGRAM, "train"]
    run.parent.mkdir(parents=True, exist_ok=True)
    call([*start, *rest])


def scores(run: Path, shards: Path, every: int, file: Path) -> dict[str, Any]:
    """Scores of a run on the test split of an archive, with so many minutes between starts."""
    if not file.exists():
        where = ["--shards", shards, "--every", every, "--json", file]
        call([*PROGRAM, "evaluate", run, *where])
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def call(command: list[object]) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)
