"""Training one of many models in a rank of the farm, whose network stays warm between them."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from hvd_nowcast.config import Config, RegionsConfig
from hvd_nowcast.errors import RunFolderError
from hvd_nowcast.parallel.communicator import SingleProcess
from hvd_nowcast.parallel.launcher import find_launch
from hvd_nowcast.regions.folder import OUTCOME, ModelOutcome, Plan, RegionsFolder
from hvd_nowcast.regions.scores import Scorer
from hvd_nowcast.regions.transfer import PlannedModel, model_config
from hvd_nowcast.training.bench import Bench
from hvd_nowcast.training.checkpoint import fingerprint, load_weights
from hvd_nowcast.training.loop import TrainingRun
from hvd_nowcast.training.run_folder import RunFolder


@dataclass
class _Workplace:
    """What a rank keeps between models."""

    folder: RegionsFolder
    config: RegionsConfig
    base: Config
    plan: Plan
    bench: Bench
    scorer: Scorer
    seconds: float = 0.0
    processor_seconds: float = 0.0

    def config_of(self, model: PlannedModel, target_loss: float | None) -> Config:
        """Configuration of the run of one model."""
        models, transfer = self.folder.models, self.config.transfer
        return model_config(self.base, model, models, transfer, target_loss)


@lru_cache(maxsize=1)
def _workplace(path: str) -> _Workplace:
    """Build the network and trace its steps, once for a rank."""
    watch = _Watch()
    folder = RegionsFolder(path)
    config, base = folder.config()
    plan = folder.plan()
    bench = Bench(base, folder.domain, SingleProcess())
    scorer = Scorer(bench.task, config.test_samples)
    place = _Workplace(folder, config, base, plan, bench, scorer)
    for source in {None, next((model.source for model in plan.models if model.source), None)}:
        _warm_up(place, source)
    place.seconds, place.processor_seconds = watch.read()
    return place


def _warm_up(place: _Workplace, source: str | None) -> None:
    """Trace the step that models from scratch take, or those with a source."""
    model = PlannedModel("warm-up", "", place.plan.usable[0], source)
    config = place.config_of(model, None)
    place.bench.turn_to(config, RunFolder(place.folder.domain.path, writable=False))
    step = place.bench.step(config)
    size = config.training.global_batch
    for batch in place.bench.task.training_batches(slice(0, size), range(1)):
        step.train(batch, 0.0)
    for batch in place.bench.task.validation_batches(0, 1):
        step.evaluate(batch).numpy()
    place.bench.task.initialise()
    place.bench.task.polish(source is not None)


def train_model(path: str, name: str) -> dict[str, Any]:
    """Train and score one model of a folder, and write what came of it into its run.

    Parameters
    ----------
    path
        Folder of the many models.
    name
        Of one that was planned.

    Returns
    -------
    dict
        A `ModelOutcome`.
    """
    before = _workplace.cache_info().currsize
    place = _workplace(path)
    first = _workplace.cache_info().currsize != before
    model = place.plan.by_name()[name]
    run = place.folder.run(name)
    watch = _Watch()
    final = _train(place, model, run)
    seconds, processor_seconds = watch.read()
    load_weights(run.best_weights, place.bench.task.model)
    if model.region is None:
        place.bench.task.turn_to(place.plan.usable[0])
    score = place.scorer.score()
    outcome = ModelOutcome(
        seconds,
        processor_seconds,
        final["steps"],
        final["best_step"],
        final["best_loss"],
        score.skill,
        score.loss,
        score.counts,
        fingerprint(place.bench.task.model),
        find_launch(os.environ).rank,
        place.seconds if first else 0.0,
        place.processor_seconds if first else 0.0,
    )
    run.write_json(OUTCOME, asdict(outcome))
    return asdict(outcome)


def _train(place: _Workplace, model: PlannedModel, run: RunFolder) -> dict[str, Any]:
    target = None
    if model.target is not None:
        wanted = place.folder.outcome(model.target)
        if wanted is None:
            raise RunFolderError(f"{model.name}: {model.target} is not trained yet")
        target = wanted.best_loss
    config = place.config_of(model, target)
    if run.has("config.yaml"):
        run.check_same(config)
    else:
        run.start(config)
    return TrainingRun(config, run, SingleProcess(), place.bench).run()


class _Watch:
    """Time by the clock, and time of the processors of this process."""

    def __init__(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Both since the start, in seconds."""
        return time.perf_counter() - self._started[0], time.process_time() - self._started[1]
