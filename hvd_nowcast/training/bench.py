"""A network with its optimiser and its traced step, which runs can use one after the other.

Building and tracing take seconds, as long as many updates of a small network do.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from hvd_nowcast.config import Config
from hvd_nowcast.errors import ConfigError
from hvd_nowcast.parallel.agreement import in_turn
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.training.data_facts import keep_data_facts
from hvd_nowcast.training.optimiser import build_optimiser
from hvd_nowcast.training.run_folder import RunFolder
from hvd_nowcast.training.start import trained
from hvd_nowcast.training.step import TrainingStep
from hvd_nowcast.training.task import Task
from hvd_nowcast.training.tasks import open_task


def set_seed(seed: int) -> None:
    """Make initial weights and every operation repeatable."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


class Bench:
    """What the runs of one archive, one network and one optimiser share.

    Parameters
    ----------
    config
        Of the first run.
    run
        The first run; its scaling is that of all.
    communicator
        The other ranks.
    """

    def __init__(self, config: Config, run: RunFolder, communicator: Communicator) -> None:
        set_seed(config.training.seed)
        self._config = config
        self._first = run
        self._communicator = communicator
        self.task: Task = in_turn(communicator, lambda: open_task(config, run))
        self.task.place(communicator)
        self.optimiser = build_optimiser(config.optimiser, self.task.model)
        self._variables = [*self.task.model.weights, *self.optimiser.variables]
        self._new = [variable.numpy() for variable in self._variables]
        self._steps: dict[tuple[str, ...], TrainingStep] = {}

    def turn_to(self, config: Config, run: RunFolder) -> None:
        """Make everything as it was when new, with the samples of the region of another run.

        Raises
        ------
        ConfigError
            When that run needs another network, optimiser or step.
        """
        self._require_same_network(config)
        if not run.has("scaler.json"):
            run.write_json("scaler.json", self._first.read_json("scaler.json"))
        keep_data_facts(self._first.read_json("data.json"), run)
        self.task.turn_to(config.region)
        # No `set_seed`: nothing draws from it once there are weights, and TensorFlow would forget
        # its optimised graphs. To optimise them again takes longer than some models train.
        for variable, value in zip(self._variables, self._new, strict=True):
            variable.assign(value)

    def step(self, config: Config) -> TrainingStep:
        """The step that trains all but what a run freezes."""
        frozen = config.start.freeze if config.start else ()
        if frozen not in self._steps:
            self._steps[frozen] = TrainingStep(
                self.task,
                self.optimiser,
                self._communicator,
                config.optimiser.clip_norm,
                config.training.accumulate,
                config.training.compression == "fp16",
                trained(self.task.model, frozen),
            )
        return self._steps[frozen]

    def _require_same_network(self, config: Config) -> None:
        ours, theirs = (_shared_settings(c) for c in (self._config, config))
        different = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        if different:
            raise ConfigError(
                f"{', '.join(sorted(different))}: must be the same in all runs of a bench"
            )


def _shared_settings(config: Config) -> dict[str, Any]:
    """Settings that the runs of a bench cannot differ in."""
    schedule = ("learning_rate", "reference_batch", "warmup", "decay", "plateau")
    own = ("region", "start", "training.", *(f"optimiser.{name}" for name in schedule))
    shared = {"training.global_batch", "training.accumulate", "training.compression"}
    settings = config.to_flat_dict().items()
    return {key: value for key, value in settings if key in shared or not key.startswith(own)}
