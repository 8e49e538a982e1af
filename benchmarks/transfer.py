"""Many models on two ranks: ``python benchmarks/transfer.py [--quick]``.

The models of the regions of made-up rain, on one rank and on two, a core each, in turns. The
ceiling follows from what each job took on one rank: the least time in which two ranks can do all,
whatever the order, given that dependent models wait for their sources and that each rank builds
the network once. Wanted: 0.9 of it. The weights must be the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from contenders import FULL_CORES, ONE_THREAD, WORKERS, mpirun
from figures import publish, ratio_figure

from hvd_nowcast.parallel.job_queue import FarmJob, ideal_seconds

BASE = """
data: {{shards: {shards}, frames_in: 4, frames_out: 4, crop: 48, wet_bias: 9}}
model: {{filters: [16, 32], centre: 32, stem: 2}}
optimiser: {{learning_rate: 2e-3, warmup_steps: 10, averaging: 0.98}}
training: {{steps: {steps}, global_batch: 8, validate_every: 50, validation_samples: 8}}
"""
REGIONS = """
base: {base}
cut: {{kind: grid, rows: 4, columns: 4}}
similarity: {{sources: 4}}
transfer: {{scheme: similar, steps: {fine}, validate_every: 20, patience: 9}}
test_samples: 4
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of shorter trainings")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        config = prepare(folder, 100 if quick else 300, 40 if quick else 100)
        found: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
        for number in range(1 if quick else 3):
            for ranks, facts in found.items():
                facts.append(farm(config, folder / f"{number}-{ranks}", ranks))
    report(found)


def prepare(folder: Path, steps: int, fine: int) -> Path:
    """An archive of made-up rain and the configuration of its regions."""
    from hvd_nowcast.shards.build import build_shards
    from hvd_nowcast.shards.split import parse_split
    from hvd_nowcast.shards.synthetic import synthetic_source

    source = synthetic_source(240, shape=(192, 192), seed=1)
    build_shards(source, folder / "shards", parse_split("train=0.6,validation=0.2,test=0.2"))
    base, config = folder / "base.yaml", folder / "regions.yaml"
    base.write_text(BASE.format(shards=folder / "shards", steps=steps))
    config.write_text(REGIONS.format(base=base, fine=fine))
    return config


def farm(config: Path, run: Path, ranks: int) -> dict[str, Any]:
    """Train all models on some ranks; what the farm tells, and the weights."""
    worker = [sys.executable, str(WORKERS / "transfer_farm.py"), str(config), str(run)]
    environment = {**os.environ, **ONE_THREAD, **FULL_CORES}
    subprocess.run([*mpirun(ranks), *worker], check=True, env=environment)
    facts: dict[str, Any] = json.loads((run / "farm.json").read_text())
    facts["weights"] = {
        str(file.parent.relative_to(run)): json.loads(file.read_text())["fingerprint"]
        for file in run.glob("models/*/*/outcome.json")
    }
    plan = json.loads((run / "plan.json").read_text())
    facts["plan"] = [
        FarmJob(m["name"], (m["source"],) if m["source"] else ()) for m in plan["models"]
    ]
    return facts


def report(found: dict[int, list[dict[str, Any]]]) -> None:
    one, two = ([facts["seconds"] for facts in found[ranks]] for ranks in (1, 2))
    ceiling = statistics.median(
        f["seconds"] / (f["start_seconds"] + ideal_seconds(f["plan"], f["jobs"], [1.0, 1.0]))
        for f in found[1]
    )
    weights = [facts["weights"] for facts in (*found[1], *found[2])]
    if any(other != weights[0] for other in weights):
        raise SystemExit("the models of two ranks are not those of one")
    models = len(weights[0])
    print(f"{models} models: {statistics.median(one):.1f} s on one rank, on two the same weights")
    title = "many models on two ranks over one"
    publish("transfer", [ratio_figure(title, one, two, 0.9 * ceiling, ceiling=ceiling)])


if __name__ == "__main__":
    main()
