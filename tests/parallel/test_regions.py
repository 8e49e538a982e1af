"""Many models on several ranks are those of one process, also after a rank was killed."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.shards.synthetic import synthetic_source
from tests.parallel.conftest import start_ranks

BASE = """
data: {{shards: {shards}, frames_in: 3, frames_out: 2, crop: 24}}
model: {{filters: [8], centre: 8}}
optimiser: {{learning_rate: 2e-3, warmup_steps: 2, averaging: 0.5}}
training: {{steps: 12, global_batch: 2, validate_every: 6, validation_samples: 2}}
"""
REGIONS = """
base: {base}
cut: {{kind: grid, rows: 2, columns: 3}}
similarity: {{sources: 2}}
transfer: {{scheme: similar, freeze: [down0], steps: 4, validate_every: 2}}
test_samples: 2
"""
# A pair of ranks, at least, tries each of the models once.
MODELS = 6


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: launch/setup.sh does")
    folder = tmp_path_factory.mktemp("regions")
    source = synthetic_source(80, shape=(48, 72), seed=5)
    build_shards(source, folder / "shards", parse_split("train=0.6,validation=0.2,test=0.2"))
    (folder / "base.yaml").write_text(BASE.format(shards=folder / "shards"))
    file = folder / "regions.yaml"
    file.write_text(REGIONS.format(base=folder / "base.yaml"))
    return file


def fit(config: Path, run: Path, ranks: int, rank: int = -1, model: int = -1) -> tuple[int, str]:
    command = ["regions", "fit", config, "--run", run, "--resume"]
    meetings = tempfile.mkdtemp(dir=run.parent)
    process = start_ranks(ranks, "faulty_regions.py", rank, model, meetings, *command)
    output, _ = process.communicate(timeout=200)
    return process.returncode, output


def outcomes(run: Path) -> dict[str, dict[str, Any]]:
    return {
        file.parent.name: json.loads(file.read_text())
        for file in sorted(run.glob("models/*/*/outcome.json"))
    }


def test_a_killed_rank_loses_one_model_and_two_ranks_give_the_models_of_one(
    config: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    status, output = fit(config, whole, 1)
    assert status == 0, output
    assert len(outcomes(whole)) == MODELS
    killed = tmp_path / "killed"
    status, output = fit(config, killed, 2, rank=1, model=2)
    assert status == 137, output
    before = outcomes(killed)
    assert 1 <= len(before) < MODELS
    status, output = fit(config, killed, 2)
    assert status == 0, output
    after = outcomes(killed)
    assert {name: after[name] for name in before} == before
    assert {found["rank"] for name, found in after.items() if name not in before} == {0, 1}
    for name, found in outcomes(whole).items():
        for fact in ("fingerprint", "best_loss", "steps", "skill", "loss"):
            assert after[name][fact] == found[fact], (name, fact)
