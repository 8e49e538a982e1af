"""Whole tiny runs inside this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from hvd_nowcast.config import load_config
from hvd_nowcast.errors import Interrupted, NotFiniteError, ShardError
from hvd_nowcast.loader.scaling import LogRainScaling, scaling_to_dict
from hvd_nowcast.nowcast.predictor import Predictor
from hvd_nowcast.parallel.communicator import SingleProcess
from hvd_nowcast.training.loop import TrainingRun
from hvd_nowcast.training.run_folder import RunFolder

TINY = Path(__file__).parents[2] / "configs/tiny.yaml"
SHORT = [
    "training.steps=12",
    "training.validate_every=6",
    "training.checkpoint_every=4",
    "training.validation_samples=3",
    "data.synthetic.frames=80",
]


class InterruptsAt:
    """A flag that is raised at a number of steps, as by a signal."""

    def __init__(self, step: int) -> None:
        self._left = step
        self.signal = None

    def __enter__(self) -> InterruptsAt:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def raised(self) -> bool:
        self._left -= 1
        return self._left == 0


@contextmanager
def interrupted_after(step: int) -> Iterator[None]:
    with (
        patch("hvd_nowcast.training.loop.InterruptFlag", lambda: InterruptsAt(step)),
        pytest.raises(Interrupted, match=f"after step {step} of 12"),
    ):
        yield


def start(folder: Path, *overrides: str) -> RunFolder:
    run = RunFolder(folder)
    run.start(load_config(TINY, [*SHORT, *overrides]))
    return run


def train(run: RunFolder) -> dict[str, Any]:
    return TrainingRun(run.config(), run, SingleProcess()).run()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = start(tmp_path_factory.mktemp("run") / "whole")
    train(run)
    return run


def test_a_run_leaves_everything_it_promises(finished: RunFolder) -> None:
    names = "config.yaml scaler.json data.json metrics.jsonl weights/best.npz final.json".split()
    assert all(finished.has(name) for name in names)
    final = finished.read_json("final.json")
    assert final["steps"] == 12
    assert len(final["fingerprint"]) == 64
    records = [json.loads(line) for line in finished.metrics.read_text().splitlines()]
    assert [record["step"] for record in records] == [6, 10, 12]


@pytest.mark.parametrize("step", [1, 4, 7, 11])
def test_interrupt_and_resume_give_the_same_weights(
    finished: RunFolder, tmp_path: Path, step: int
) -> None:
    run = start(tmp_path / "run")
    with interrupted_after(step):
        train(run)
    resumed = train(run)
    whole = finished.read_json("final.json")
    for name in ("fingerprint", "loss", "best_loss", "best_step", "steps"):
        assert resumed[name] == whole[name]
    metrics = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    losses = {record["step"]: record["loss"] for record in metrics if "loss" in record}
    expected = [json.loads(line) for line in finished.metrics.read_text().splitlines()]
    assert losses == {r["step"]: r["loss"] for r in expected if "loss" in r}


def test_another_seed_gives_other_weights(finished: RunFolder, tmp_path: Path) -> None:
    other = train(start(tmp_path / "run", "training.seed=1"))
    assert other["fingerprint"] != finished.read_json("final.json")["fingerprint"]


def test_the_loss_falls(tmp_path: Path) -> None:
    # Without the residual the first forecasts are noise, so there is something to learn at once.
    run = start(
        tmp_path / "run",
        "training.steps=60",
        "training.validate_every=10",
        "model.residual=false",
        "optimiser.learning_rate=1e-2",
    )
    train(run)
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    losses = [record["validation_loss"] for record in records if "validation_loss" in record]
    assert losses[-1] < 0.7 * losses[0]


def test_early_stopping_waits_for_the_patience(tmp_path: Path) -> None:
    # At this rate nothing moves, so no validation after the first is better.
    final = train(
        start(
            tmp_path / "run",
            "optimiser.learning_rate=1e-30",
            "training.validate_every=2",
            "training.patience=2",
        )
    )
    assert (final["steps"], final["best_step"]) == (6, 2)


def test_the_rate_falls_after_each_plateau(tmp_path: Path) -> None:
    run = start(
        tmp_path / "run",
        "optimiser.decay=plateau",
        "optimiser.warmup_steps=0",
        "optimiser.learning_rate=1e-30",
        "optimiser.plateau_patience=2",
        "training.validate_every=2",
        "training.steps=40",
    )
    train(run)
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    rates = {r["step"]: r["learning_rate"] for r in records if "learning_rate" in r}
    base = rates[10] / 0.5**2
    # The first validation is the best; every second one after it lowers the rate.
    assert rates == pytest.approx({s: base * 0.5 ** ((s - 4) // 4 + (s > 3)) for s in rates})


def test_not_a_number_stops_the_run_with_a_reason(tmp_path: Path) -> None:
    run = start(tmp_path / "run")
    run.write_json("scaler.json", scaling_to_dict(LogRainScaling(5e-324)))
    with pytest.raises(NotFiniteError, match="step 0.*No update was made"):
        train(run)


def test_changed_shards_are_refused_on_resume(tmp_path: Path) -> None:
    run = start(tmp_path / "run")
    with interrupted_after(2):
        train(run)
    facts = run.read_json("data.json")
    run.write_json("data.json", {**facts, "shards": {"other.nc": "0"}})
    with pytest.raises(ShardError, match="not those the run was started with"):
        train(run)


def test_too_few_frames_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="validation split has no sequence of 7 frames"):
        train(start(tmp_path / "run", "data.synthetic.frames=30"))


def test_a_trained_run_predicts(finished: RunFolder) -> None:
    predictor = Predictor.load(finished.path)
    frames = np.zeros((4, 20, 30), np.float32)
    assert predictor.forecast(frames).shape == (3, 20, 30)
    assert (predictor.quantity, predictor.step_seconds) == ("rain_rate", 300)


@pytest.mark.parametrize(
    "override",
    [
        "model.normalisation=group",
        "model.stem=2",
        "loss.error=mse",
        "loss.exceedance=0.2",
        "optimiser.name=sgd",
        "optimiser.averaging=0.9",
        "data.wet_bias=20",
        "data.locality=1",
        # More than there are windows.
        "training.global_batch=64",
        "training.accumulate=3",
        "training.compression=fp16",
        "model.precision=mixed_bfloat16",
        "model.mask_channel=false",
        "model.advection=true",
        "model.noise=2,loss.error=crps,loss.rain_weight=0",
    ],
)
def test_every_option_trains(tmp_path: Path, override: str) -> None:
    final = train(start(tmp_path / "run", *override.split(","), "training.steps=2"))
    assert final["steps"] == 2
    assert np.isfinite(final["loss"])
