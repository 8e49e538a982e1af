"""The run, top to bottom."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from hvd_nowcast import console
from hvd_nowcast.config import Config
from hvd_nowcast.errors import Interrupted, NotFiniteError
from hvd_nowcast.loader.assignment import rank_slice
from hvd_nowcast.parallel.agreement import from_first, require_same
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.parallel.interfaces import counter_of_sent_bytes
from hvd_nowcast.parallel.probe import MOST_STEPS, RankProbe, probe_ranks
from hvd_nowcast.parallel.watchdog import Watchdog
from hvd_nowcast.training.bench import Bench
from hvd_nowcast.training.checkpoint import (
    CheckpointFolder,
    assign_arrays,
    fingerprint,
    load_weights,
    save_arrays,
    variable_arrays,
)
from hvd_nowcast.training.interrupt import InterruptFlag
from hvd_nowcast.training.optimiser import averaged_weights
from hvd_nowcast.training.run_folder import RunFolder
from hvd_nowcast.training.schedule import learning_rate
from hvd_nowcast.training.sharing import start_sharing
from hvd_nowcast.training.start import start_from, take_over_scaling
from hvd_nowcast.training.step import StepResult
from hvd_nowcast.training.task import Task

LOG_EVERY_STEPS = 10
LINE_EVERY_SECONDS = 30.0
COMPARE_EVERY_STEPS = 100


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
    plateaus
        How often the learning rate was lowered because validations became no better.
    validation_loss
        The newest one.
    shares
        How the batch was divided so far, see `Sharing`.
    """

    step: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    bad_validations: int = 0
    plateaus: int = 0
    validation_loss: float | None = None
    shares: list[dict[str, Any]] = field(default_factory=list)


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
    bench
        A network that many runs use, which then keep quiet; without one, it is built, and closed
        at the end.
    """

    def __init__(
        self,
        config: Config,
        run: RunFolder,
        communicator: Communicator,
        bench: Bench | None = None,
    ) -> None:
        self._config = config
        self._run = run
        self._communicator = communicator
        self._one_of_many = bench is not None
        if bench is None:
            take_over_scaling(config.start, run)
            bench = Bench(config, run, communicator)
        else:
            bench.turn_to(config, run)
        self._task: Task = bench.task
        self._model = self._task.model
        self._optimiser = bench.optimiser
        self._checkpoints = CheckpointFolder(run.checkpoints, config.training.keep_checkpoints)
        self._progress = self._restore()
        self._take = bench.step(config)
        self._sharing = start_sharing(
            config.balance,
            config.training.global_batch,
            communicator,
            self._progress.shares,
            self._progress.step,
            self.probe,
        )
        if self._sharing.costs is not None:
            self._take.most_samples = self._sharing.costs[communicator.rank].cap
        self._saved_at = time.monotonic()
        self._sent_bytes = counter_of_sent_bytes(communicator)
        self._validation_seconds: float | None = None

    @property
    def task(self) -> Task:
        """What is trained."""
        return self._task

    def run(self, end: Callable[[BaseException], object] | None = None) -> dict[str, Any]:
        """Train to the end and return what ``final.json`` holds.

        Parameters
        ----------
        end
            Called from another thread when no progress is made; it ends the process.

        Raises
        ------
        Interrupted
            After a signal; the state is saved.
        NotFiniteError
            When loss or gradient are NaN or infinite.
        """
        with ExitStack() as stack:
            if not self._one_of_many:
                stack.callback(self._task.close)
            flag = stack.enter_context(InterruptFlag())
            seconds = 60 * self._config.training.stall_minutes
            watchdog = stack.enter_context(Watchdog(seconds, end or _end_process))
            if self._run.writable:
                board = tf.summary.create_file_writer(str(self._run.tensorboard))
                stack.enter_context(board.as_default())
            self._loop(flag, watchdog)
            watchdog.doing("polishing the best weights")
            self._polish()
        if self._one_of_many and flag.signal is not None:
            raise Interrupted(f"stopped by {flag.signal.name}. Continue with --resume")
        return self._finish()

    def probe(self) -> list[RankProbe]:
        """How long a step takes on each rank, from steps that change nothing."""
        batch = self._config.training.global_batch
        device = tf.config.get_visible_devices()[-1].name.removeprefix("/physical_device:")
        return probe_ranks(self._communicator, device, self._try_steps, batch)

    def _try_steps(self, samples: int) -> Generator[float, None, None]:
        """Seconds of one step after the other; none changes anything."""
        started = time.perf_counter()
        for batch in self._task.training_batches(slice(0, samples), range(1 + MOST_STEPS)):
            try:
                self._take.compute(batch)
            except tf.errors.ResourceExhaustedError as problem:
                raise MemoryError(f"{samples} samples do not fit into memory") from problem
            yield time.perf_counter() - started
            started = time.perf_counter()

    def _loop(self, flag: InterruptFlag, watchdog: Watchdog) -> None:
        total, progress = self._config.training.steps, self._progress
        bar: tqdm[Any] = console.progress(
            None,
            "training",
            total=total,
            unit="step",
            initial=progress.step,
            hidden=not self._run.writable or self._one_of_many,
        )
        plain = bool(bar.disable) and self._run.writable and not self._one_of_many
        lines = _Lines(plain, total)
        if self._config.start is not None and progress.best_loss is None:
            # What was learnt elsewhere may be good enough as it is.
            self._validate(watchdog)
        with bar:
            while progress.step < total and not self._should_stop():
                self._train_with_these_shares(flag, watchdog, bar, lines)
        self._sharing.summarise(self._communicator)

    def _train_with_these_shares(
        self, flag: InterruptFlag, watchdog: Watchdog, bar: Any, lines: _Lines
    ) -> None:
        training, progress, sharing = self._config.training, self._progress, self._sharing
        steps = range(progress.step, training.steps)
        watchdog.doing("reading the next batch")
        started = time.perf_counter()
        for batch in self._task.training_batches(self._part, steps):
            waited = time.perf_counter() - started
            watchdog.doing(f"taking step {progress.step}", together=True)
            rate, sent = self._learning_rate(), self._sent_bytes()
            result = self._take.train(batch, rate, flag.raised, self._overdue)
            self._require_finite(result, batch)
            stop, save = bool(result.stop), bool(result.save)
            progress.step += 1
            seconds = time.perf_counter() - started
            progress.seconds += seconds
            sent = self._sent_bytes() - sent
            sharing.record(waited + self._take.compute_seconds, seconds, sent)
            bar.update()
            self._log(result, rate, bar, lines)
            self._validate_and_save(flag, stop, save, watchdog)
            if self._should_stop() or self._shares_changed():
                return
            watchdog.doing("reading the next batch")
            started = time.perf_counter()

    @property
    def _part(self) -> slice:
        if self._task.branches is not None:
            return self._task.branches.layout.batch_part(self._sharing.shares)
        return rank_slice(self._sharing.shares, self._communicator.rank)

    def _shares_changed(self) -> bool:
        balance, step = self._config.balance, self._progress.step
        if balance.mode != "dynamic" or step % balance.every or self._communicator.size == 1:
            return False
        if step == self._config.training.steps:
            return False  # no step is left to share out, and the last checkpoint is written
        return self._sharing.adapt(step, self._communicator)

    def _learning_rate(self) -> float:
        training = self._config.training
        return learning_rate(
            self._config.optimiser,
            self._progress.step,
            training.steps,
            training.global_batch,
            self._task.windows / training.global_batch,
            self._progress.plateaus,
        )

    def _require_finite(self, result: StepResult, batch: Any) -> None:
        if result.finite:
            return
        step = self._progress.step
        mine = self._task.describe_samples(self._part, step)
        found = self._communicator.gather([self._take.is_finite(batch), mine])
        bad = [(rank, samples) for rank, (finite, samples) in enumerate(found) if not finite]
        where = f"on rank {bad[0][0]}, whose samples are of {bad[0][1]}" if bad else "in the sum"
        raise NotFiniteError(
            f"step {step}: the loss or a gradient is NaN or infinite {where}. No update was made. "
            "Lower optimiser.learning_rate or optimiser.clip_norm, or look for bad frames with: "
            "hvd-nowcast shards check"
        )

    def _log(self, result: StepResult, rate: float, bar: Any, lines: _Lines) -> None:
        progress = self._progress
        if progress.step % LOG_EVERY_STEPS or not self._run.writable:
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

    @property
    def _overdue(self) -> bool:
        minutes = self._config.training.checkpoint_minutes
        return self._run.writable and time.monotonic() - self._saved_at > 60 * minutes

    def _validate_and_save(
        self, flag: InterruptFlag, stop: bool, save: bool, watchdog: Watchdog
    ) -> None:
        training, progress = self._config.training, self._progress
        at_end = progress.step == training.steps
        validating = at_end or progress.step % training.validate_every == 0
        comparing = progress.step % COMPARE_EVERY_STEPS == 0
        stopping = stop and not at_end
        saving = at_end or stopping or save or progress.step % training.checkpoint_every == 0
        if self._task.branches is not None and (validating or comparing or saving):
            watchdog.doing("gathering the branches", together=True)
            self._task.branches.gather_weights(self._optimiser)
        if validating:
            with averaged_weights(self._model, self._optimiser):
                self._validate(watchdog)
        if comparing:
            self._require_same_weights()
        if saving:
            watchdog.doing("saving a checkpoint")
            self._save()
        if stopping:
            name = flag.signal.name if flag.signal else "a signal on another rank"
            raise Interrupted(
                f"stopped by {name} after step {progress.step} of {training.steps}; everything is "
                "saved. Continue with the same command and --resume"
            )

    def _validate(self, watchdog: Watchdog) -> None:
        progress = self._progress
        started = time.perf_counter()
        sums = np.zeros(2)
        rank, ranks = self._communicator.rank, self._communicator.size
        if self._task.branches is not None:
            layout = self._task.branches.layout
            rank, ranks = layout.replica, layout.replicas
        watchdog.doing("validating")
        for batch in self._task.validation_batches(rank, ranks):
            sums += self._take.evaluate(batch).numpy()
            watchdog.doing("validating")
        watchdog.doing("adding up the validation", together=True)
        loss_sum, valid = np.sum(self._communicator.gather(sums.tolist()), axis=0)
        progress.validation_loss = float(loss_sum / valid) if valid else 0.0
        self._validation_seconds = time.perf_counter() - started
        record = {"step": progress.step, "validation_loss": progress.validation_loss}
        self._run.append_metrics(record)
        if self._run.writable:
            tf.summary.scalar("validation/loss", progress.validation_loss, progress.step)
        self._judge_validation()

    def _judge_validation(self) -> None:
        progress, optimiser = self._progress, self._config.optimiser
        loss = progress.validation_loss
        if progress.best_loss is None or (loss is not None and loss < progress.best_loss):
            progress.best_loss, progress.best_step = loss, progress.step
            progress.bad_validations = 0
            if self._run.writable:
                facts = {"step": progress.step, "validation_loss": loss}
                save_arrays(self._run.best_weights, variable_arrays(self._model), facts)
            return
        progress.bad_validations += 1
        if progress.bad_validations % optimiser.plateau_patience == 0:
            progress.plateaus += 1

    def _require_same_weights(self) -> None:
        if self._communicator.size > 1:
            what = f"the weights after step {self._progress.step}"
            require_same(self._communicator, what, {"fingerprint": fingerprint(self._model)})

    def _should_stop(self) -> bool:
        training, progress = self._config.training, self._progress
        target, best = training.target_loss, progress.best_loss
        if target is not None and best is not None and best <= target:
            return True
        return training.patience is not None and progress.bad_validations >= training.patience

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self._run.writable:
            facts = {**asdict(self._progress), "shares": self._sharing.history}
            self._checkpoints.save(self._progress.step, self._model, self._optimiser, facts)

    def _restore(self) -> Progress:
        shapes = {v.path: f"{tuple(v.shape)} {v.dtype}" for v in self._model.weights}
        require_same(self._communicator, "the model", shapes)
        facts = from_first(self._communicator, self._load_newest)
        self._communicator.broadcast_variables([*self._model.weights, *self._optimiser.variables])
        return Progress(**{k: facts[k] for k in asdict(Progress()) if k in facts})

    def _load_newest(self) -> dict[str, Any]:
        facts, skipped = self._checkpoints.load_newest(self._model, self._optimiser)
        for problem in skipped:
            console.warn(f"{problem}. Using an older checkpoint")
        step = facts.get("step", 0)
        if not facts:
            if self._config.start is not None:
                moved = start_from(self._config.start, self._model, self._run)
                self._note(f"starting from {self._config.start.run}: {moved}")
            self._task.initialise()
        else:
            self._note(f"resuming {self._run.path} at step {step}")
        self._run.cut_metrics(step)
        return facts

    def _note(self, text: str) -> None:
        if not self._one_of_many:
            console.note(text)

    def _polish(self) -> None:
        if not (self._run.writable and self._run.best_weights.exists()):
            return
        newest = variable_arrays(self._model)
        facts = load_weights(self._run.best_weights, self._model)
        if self._task.polish(self._config.start is not None):
            save_arrays(self._run.best_weights, variable_arrays(self._model), facts)
        assign_arrays(newest, self._run.best_weights, self._model)

    def _finish(self) -> dict[str, Any]:
        progress, training = self._progress, self._config.training
        final = {
            "loss": progress.validation_loss,
            "best_loss": progress.best_loss,
            "best_step": progress.best_step,
            "steps": progress.step,
            "samples_per_second": progress.step * training.global_batch / (progress.seconds or 1.0),
            "training_seconds": progress.seconds,
            "validation_seconds": self._validation_seconds,
            "parameters": int(self._model.count_params()),
            "ranks": self._communicator.size,
            "shares": self._sharing.history,
            "fingerprint": fingerprint(self._model),
        }
        self._run.write_json("final.json", final)
        return final


def _end_process(problem: BaseException) -> None:
    console.fail(str(problem))
    os._exit(getattr(problem, "exit_status", 1))


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
