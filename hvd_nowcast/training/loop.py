"""The run, top to bottom."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import keras
import tensorflow as tf

from hvd_nowcast import console
from hvd_nowcast.config import Config
from hvd_nowcast.errors import Interrupted, NotFiniteError
from hvd_nowcast.loader.assignment import rank_slice
from hvd_nowcast.models.nowcast import build_nowcast
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.training.checkpoint import (
    CheckpointFolder,
    fingerprint,
    save_arrays,
    variable_arrays,
)
from hvd_nowcast.training.data import TrainingData, open_training_data
from hvd_nowcast.training.interrupt import InterruptFlag
from hvd_nowcast.training.loss import NowcastLoss
from hvd_nowcast.training.run_folder import RunFolder
from hvd_nowcast.training.schedule import learning_rate
from hvd_nowcast.training.step import (
    StepResult,
    TrainingStep,
    averaged_weights,
    build_optimiser,
)

LOG_EVERY_STEPS = 10
LINE_EVERY_SECONDS = 30.0
VALIDATION_BATCH = 4


@dataclass
class Progress:
    """What a resume needs besides the arrays.

    Attributes
    ----------
    step
        Updates made.
    seconds
        Time spent in training steps, validations and checkpoints left out.
    best_loss, best_step
        Best validation so far; infinity is stored as None.
    bad_validations
        Validations since then.
    validation_loss
        The newest one.
    """

    step: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    bad_validations: int = 0
    validation_loss: float | None = None


def set_seed(seed: int) -> None:
    """Make initial weights and every operation repeatable."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


class TrainingRun:
    """One run from its first or its resumed step to ``final.json``.

    Parameters
    ----------
    config
        The whole configuration.
    run
        Where everything is kept; its ``config.yaml`` is written.
    communicator
        The other ranks.
    """

    def __init__(self, config: Config, run: RunFolder, communicator: Communicator) -> None:
        set_seed(config.training.seed)
        self._config = config
        self._run = run
        self._data: TrainingData = open_training_data(config, run)
        self._model = build_nowcast(config.model, config.data.frames_in, config.data.frames_out)
        self._optimiser = build_optimiser(config.optimiser, self._model)
        self._checkpoints = CheckpointFolder(run.checkpoints, config.training.keep_checkpoints)
        self._communicator = communicator
        self._progress = self._restore()
        self._take = TrainingStep(
            self._model,
            self._optimiser,
            self._data.decoder,
            NowcastLoss(config.loss, self._data.scaling),
            communicator,
            config.optimiser.clip_norm,
            self._planned_pixels(),
        )
        self._saved_at = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Train to the end and return what ``final.json`` holds.

        Raises
        ------
        Interrupted
            After a signal; the state is saved.
        NotFiniteError
            When loss or gradient are NaN or infinite.
        """
        with ExitStack() as stack:
            stack.callback(self._data.pool.close)
            flag = stack.enter_context(InterruptFlag())
            board = tf.summary.create_file_writer(str(self._run.tensorboard))
            stack.enter_context(board.as_default())
            self._loop(flag)
        return self._finish()

    def _loop(self, flag: InterruptFlag) -> None:
        training, progress = self._config.training, self._progress
        steps = range(progress.step, training.steps)
        batches = self._data.batches.training(
            self._data.train,
            training.seed,
            training.global_batch,
            rank_slice([training.global_batch], 0),
            steps,
        )
        bar = console.progress(
            batches, "training", total=training.steps, unit="step", initial=progress.step
        )
        lines = _Lines(bool(bar.disable), training.steps)
        started = time.perf_counter()
        for codes in bar:
            rate = learning_rate(
                self._config.optimiser, progress.step, training.steps, training.global_batch
            )
            result = self._take.train(codes, rate)
            self._require_finite(result)
            progress.step += 1
            progress.seconds += time.perf_counter() - started
            self._log(result, rate, bar, lines)
            self._validate_and_save(flag)
            if self._should_stop():
                break
            started = time.perf_counter()

    def _require_finite(self, result: StepResult) -> None:
        if not bool(result.finite):
            raise NotFiniteError(
                f"step {self._progress.step}: the loss or a gradient is NaN or infinite (loss "
                f"{float(result.loss)}). No update was made. Lower optimiser.learning_rate or "
                "optimiser.clip_norm, or look for bad frames with: hvd-nowcast shards check"
            )

    def _log(self, result: StepResult, rate: float, bar: Any, lines: _Lines) -> None:
        progress = self._progress
        if progress.step % LOG_EVERY_STEPS:
            return
        loss, norm = float(result.loss), float(result.gradient_norm)
        speed = progress.step * self._config.training.global_batch / progress.seconds
        record = {"step": progress.step, "loss": loss, "gradient_norm": norm}
        record |= {"learning_rate": rate, "samples_per_second": speed}
        self._run.append_metrics(record)
        for name in ("loss", "gradient_norm", "learning_rate", "samples_per_second"):
            tf.summary.scalar(f"training/{name}", record[name], progress.step)
        bar.set_postfix_str(f"loss {loss:.4f}, {speed:.1f} samples/s", refresh=False)
        lines.say(progress.step, loss, speed)

    def _validate_and_save(self, flag: InterruptFlag) -> None:
        training, progress = self._config.training, self._progress
        at_end = progress.step == training.steps
        if at_end or progress.step % training.validate_every == 0:
            with averaged_weights(self._model, self._optimiser):
                self._validate()
        overdue = time.monotonic() - self._saved_at > 60 * training.checkpoint_minutes
        stopping = self._communicator.agree(flag.raised) and not at_end
        if at_end or stopping or overdue or progress.step % training.checkpoint_every == 0:
            self._save()
        if stopping:
            name = flag.signal.name if flag.signal else "a signal on another rank"
            raise Interrupted(
                f"stopped by {name} after step {progress.step} of {training.steps}; everything is "
                "saved. Continue with the same command and --resume"
            )

    def _validate(self) -> None:
        progress = self._progress
        sums = tf.zeros(2)
        limit = self._config.training.validation_samples
        for codes in self._data.validation_batches(limit, VALIDATION_BATCH):
            sums += self._take.evaluate(codes)
        loss_sum, valid = (float(value) for value in self._communicator.sum_tensors([sums])[0])
        progress.validation_loss = loss_sum / valid if valid else 0.0
        record = {"step": progress.step, "validation_loss": progress.validation_loss}
        self._run.append_metrics(record)
        tf.summary.scalar("validation/loss", progress.validation_loss, progress.step)
        if progress.best_loss is None or progress.validation_loss < progress.best_loss:
            progress.best_loss, progress.best_step = progress.validation_loss, progress.step
            progress.bad_validations = 0
            self._run.best_weights.parent.mkdir(parents=True, exist_ok=True)
            facts = {"step": progress.step, "validation_loss": progress.validation_loss}
            save_arrays(self._run.best_weights, variable_arrays(self._model), facts)
        else:
            progress.bad_validations += 1

    def _should_stop(self) -> bool:
        patience = self._config.training.patience
        return patience is not None and self._progress.bad_validations >= patience

    def _save(self) -> None:
        facts = asdict(self._progress)
        self._checkpoints.save(self._progress.step, self._model, self._optimiser, facts)
        self._saved_at = time.monotonic()

    def _restore(self) -> Progress:
        facts, skipped = self._checkpoints.load_newest(self._model, self._optimiser)
        for problem in skipped:
            console.warn(f"{problem}. Using an older checkpoint")
        progress = Progress(**{k: facts[k] for k in asdict(Progress()) if k in facts})
        if facts:
            console.note(f"resuming {self._run.path} at step {progress.step}")
        self._run.cut_metrics(progress.step)
        return progress

    def _planned_pixels(self) -> int:
        data = self._config.data
        rows, columns = (data.crop, data.crop) if data.crop else self._data.manifest.grid.shape
        return self._config.training.global_batch * data.frames_out * rows * columns

    def _finish(self) -> dict[str, Any]:
        progress, training = self._progress, self._config.training
        final = {
            "loss": progress.validation_loss,
            "best_loss": progress.best_loss,
            "best_step": progress.best_step,
            "steps": progress.step,
            "samples_per_second": progress.step * training.global_batch / progress.seconds,
            "training_seconds": progress.seconds,
            "parameters": int(self._model.count_params()),
            "ranks": self._communicator.size,
            "fingerprint": fingerprint(self._model),
        }
        self._run.write_json("final.json", final)
        return final


class _Lines:
    """Plain lines where there is no terminal for a progress bar."""

    def __init__(self, wanted: bool, total: int) -> None:
        self._wanted = wanted
        self._total = total
        self._last = time.monotonic()

    def say(self, step: int, loss: float, speed: float) -> None:
        """One line, not more often than every half minute."""
        if self._wanted and time.monotonic() - self._last > LINE_EVERY_SECONDS:
            self._last = time.monotonic()
            console.note(
                f"training: step {step} of {self._total}, loss {loss:.4f}, {speed:.1f} samples/s"
            )
