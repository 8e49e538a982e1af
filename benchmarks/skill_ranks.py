"""Does skill survive more ranks? ``python benchmarks/skill_ranks.py [--ranks N] [--quick]``.

More ranks mean a larger global batch and fewer steps for the same samples. The demo's network is
trained on real radar (``data/dwd``, made by launch/demo.sh) with as many samples as on one rank,
with the global batch of 1, 2 and 4 ranks, with the learning rate scaled to the batch and without,
and scored on a day it never saw. A batch gives the same weights on any ranks (tests/parallel), so
any number of them, --ranks, stands for all. The figure is the CSI at 1 mm/h, mean of 15, 30 and 60
minutes, over that of one rank, which is the ceiling; the spread is that of the three lead times. A
finished run is not trained again, and a stopped one goes on.
"""

from __future__ import annotations

import argparse
import statistics

from figures import Figure, publish, ratio_figure
from trainings import HERE, parse, scores, train, training_parser

CONFIG = HERE / "configs/demo.yaml"
BATCH, LEADS = 8, (15, 30, 60)
# Ranks, and whether the learning rate follows the batch.
CASES = ((1, True), (2, True), (2, False), (4, True), (4, False))


def main() -> None:
    options = parse(training_parser(__doc__.splitlines()[0]), "skill_ranks")
    report({case: skill(options, *case) for case in CASES})


def skill(options: argparse.Namespace, ranks: int, scaled: bool) -> list[float]:
    """CSI at each lead time after training with the batch of some ranks."""
    shards, batch, steps = options.data / "dwd", BATCH * ranks, options.steps // ranks
    run = options.runs / f"batch_of_{ranks}{'' if scaled else '_unscaled'}"
    settings = {
        "data.shards": shards,
        "training.steps": steps,
        "training.global_batch": batch,
        "training.validate_every": max(1, steps // 8),
        "training.checkpoint_every": max(1, steps // 8),
        "optimiser.reference_batch": BATCH if scaled else batch,
        "optimiser.warmup_steps": 100 // ranks,
        # A mean over as many samples.
        "optimiser.averaging": 0.998**ranks,
    }
    train(CONFIG, run, settings, options)
    found = scores(run, shards, 60, run / "scores.json")
    places = [found["lead_minutes"].index(lead) for lead in LEADS]
    return [found["scores"]["model"]["csi"]["1.0"][place] for place in places]


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
