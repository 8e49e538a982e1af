"""How good a model of a region is on data it never saw: one skill per task, higher is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from hvd_nowcast.models.tracing import as_graph
from hvd_nowcast.training.flood import FloodTask
from hvd_nowcast.training.landcover import LandcoverTask
from hvd_nowcast.training.nowcast import NowcastTask
from hvd_nowcast.training.task import Task

RAIN_THRESHOLD = 1.0


@dataclass(frozen=True)
class RegionScore:
    """Sums that give the skill of one region, or of several when they are added.

    Attributes
    ----------
    skill
        Critical success index, Nash-Sutcliffe efficiency or accuracy; None where nothing happened.
    loss
        What training minimises, on the same samples.
    counts
        ``good`` and ``all``: what the skill of several regions together is made of, where it is a
        ratio of counts; empty for the NSE, which is averaged.
    """

    skill: float | None
    loss: float
    counts: tuple[float, ...] = ()


class Scorer:
    """Scores the model of a task as it is now.

    Parameters
    ----------
    task
        The graph is traced once and serves all its regions.
    samples
        Largest number of test samples.
    """

    def __init__(self, task: Task, samples: int) -> None:
        self._task = task
        self._samples = samples
        self._forward = as_graph(self._sums)

    def score(self, split: str = "test") -> RegionScore:
        """Score on a split of the region that the task has turned to."""
        task: Any = self._task
        found = [
            [part.numpy() for part in self._forward(batch)]
            for batch in task.scored_batches(split, self._samples)
        ]
        losses = np.sum([part[0] for part in found], 0)
        loss = float(losses[0] / losses[1]) if losses[1] else 0.0
        if isinstance(task, FloodTask):
            return RegionScore(_flood_skill(task, [part[1:] for part in found]), loss)
        good, every = np.sum([part[1] for part in found], 0).tolist()
        return RegionScore(good / every if every else None, loss, (good, every))

    def _sums(self, batch: Any) -> tuple[tf.Tensor, ...]:
        task = self._task
        losses = tf.cast(tf.stack(task.forward(batch, False)), tf.float64)
        if isinstance(task, NowcastTask):
            return losses, _rain_counts(task, batch)
        if isinstance(task, LandcoverTask):
            return losses, _class_counts(task, batch)
        assert isinstance(task, FloodTask)
        decoded = task.decoded(batch)
        inputs = {name: decoded[name] for name in ("rain", "gauge", "series")}
        outputs = task.model(inputs, training=False)
        return losses, outputs, batch["target"], batch["weight"], batch["gauge"]


def _rain_counts(task: NowcastTask, batch: tf.Tensor) -> tf.Tensor:
    """Hits, and hits with misses and false alarms."""
    decoded = task.decoded(batch)
    limit = float(task.scaling.forward(np.array([RAIN_THRESHOLD]))[0])
    forecast = tf.cast(tf.reduce_mean(task.forecast(decoded), 0), tf.float32)
    seen = decoded.weight > 0
    said, came = (forecast >= limit) & seen, (decoded.target >= limit) & seen
    counts = tf.stack([tf.math.count_nonzero(said & came), tf.math.count_nonzero(said | came)])
    return tf.cast(counts, tf.float64)


def _class_counts(task: LandcoverTask, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Pixels of the right class, and labelled pixels."""
    inputs = {name: batch[name] for names in task.network.inputs for name in names}
    found = tf.argmax(task.model(inputs, training=False), -1, tf.int32)
    label = tf.cast(batch["label"], tf.int32)
    counts = [tf.math.count_nonzero(found + 1 == label), tf.math.count_nonzero(label)]
    return tf.cast(tf.stack(counts), tf.float64)


def _flood_skill(task: FloodTask, found: Sequence[Sequence[Any]]) -> float | None:
    """Nash-Sutcliffe efficiency of the discharge, averaged over the lead times."""
    outputs, target, weight, gauge = (np.concatenate(parts) for parts in zip(*found, strict=True))
    middle = 0 if task.network.has_deviation else outputs.shape[-1] // 2
    place = gauge[:, None]
    forecast = task.scaling.inverse(outputs[..., middle].astype(np.float64), place)
    observed = task.scaling.inverse(target.astype(np.float64), place)
    skills = []
    for lead in range(target.shape[1]):
        known = weight[:, lead] > 0
        seen = observed[known, lead]
        spread = ((seen - seen.mean()) ** 2).sum() if known.any() else 0.0
        if spread > 0:
            skills.append(1 - ((forecast[known, lead] - seen) ** 2).sum() / spread)
    return float(np.mean(skills)) if skills else None


def pooled_skill(scores: Sequence[RegionScore]) -> float | None:
    """Skill of several regions together: of the summed counts, or the mean."""
    counted = [score.counts for score in scores if score.counts]
    if counted:
        good, every = np.sum(counted, 0)
        return float(good / every) if every else None
    known = [score.skill for score in scores if score.skill is not None]
    return float(np.mean(known)) if known else None
