"""Does skill survive more ranks? ``python benchmarks/skill_ranks.py [--quick]``.

More ranks mean a larger global batch and fewer steps for the same samples. The demo's network is
trained on real radar (``data/dwd``, made by launch/demo.sh) with as many samples as on one rank,
with the global batch of 1, 2 and 4 ranks, with the learning rate scaled to the batch and without,
and scored on a day it never saw. A batch gives the same weights on any ranks (tests/parallel), so
one process stands for all. The figure is the CSI at 1 mm/h, mean of 15, 30 and 60 minutes, over
that of one rank, which is the ceiling; the spread is that of the three lead times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from figures import Figure, publish, ratio_figure

CONFIG = Path(__file__).parents[1] / "configs/demo.yaml"
BATCH, STEPS, QUICK_STEPS = 8, 2500, 250
LEADS = (15, 30, 60)
# Ranks, and whether the learning rate follows the batch.
CASES = ((1, True), (2, True), (2, False), (4, True), (4, False))


def scores(folder: Path, shards: str, steps: int, ranks: int, scaled: bool) -> list[float]:
    """CSI at each lead time after training."""
    batch = BATCH * ranks
    settings = {
        "data.shards": shards,
        "training.steps": steps // ranks,
        "training.global_batch": batch,
        "training.validate_every": max(1, steps // ranks // 8),
        "training.checkpoint_every": steps,
        "optimiser.reference_batch": BATCH if scaled else batch,
        "optimiser.warmup_steps": 100 // ranks,
        # A mean over as many samples.
        "optimiser.averaging": 0.998**ranks,
    }
    run, program = folder / f"{ranks}{scaled}", [sys.executable, "-m", "hvd_nowcast"]
    changes = [word for item in settings.items() for word in ("--set", "{}={}".format(*item))]
    train = [*program, "train", str(CONFIG), "--run", str(run), *changes]
    subprocess.run(train, check=True, stdout=sys.stderr)
    file = run / "scores.json"
    evaluate = [*program, "evaluate", str(run), "--json", str(file)]
    subprocess.run(evaluate, check=True, stdout=sys.stderr)
    found = json.loads(file.read_text())
    places = [found["lead_minutes"].index(lead) for lead in LEADS]
    return [found["scores"]["model"]["csi"]["1.0"][place] for place in places]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", default="data/dwd", help="real radar; made by launch/demo.sh")
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps")
    options = parser.parse_args()
    steps = QUICK_STEPS if options.quick else STEPS
    with tempfile.TemporaryDirectory() as scratch:
        found = {case: scores(Path(scratch), options.shards, steps, *case) for case in CASES}
    report(found)


def report(found: dict[tuple[int, bool], list[float]]) -> None:
    header = "".join(f"{lead:>5} min" for lead in LEADS)
    print(f"{'CSI at 1 mm/h':<44}{header}")
    figures: list[Figure] = []
    for (ranks, scaled), values in found.items():
        rate = "learning rate scaled" if scaled else "learning rate of one rank"
        print(f"{ranks} ranks, {rate:<34}" + "".join(f"{value:9.3f}" for value in values))
        if ranks > 1:
            title = f"skill with the batch of {ranks} ranks over one, {rate}"
            figures.append(ratio_figure(title, values, found[1, True], ceiling=1.0))
    publish("skill_ranks", figures, one=statistics.mean(found[1, True]))


if __name__ == "__main__":
    main()
