"""The learning rate, a pure function of the step."""

from __future__ import annotations

import math

from hvd_nowcast.config import OptimiserSection


def learning_rate(
    section: OptimiserSection,
    step: int,
    total_steps: int,
    global_batch: int,
    epoch_steps: float = math.inf,
    plateaus: int = 0,
) -> float:
    """Learning rate of one step: linear scaling, gradual warm-up, then decay.

    The peak grows with the global batch (Goyal et al. 2017, arXiv:1706.02677), so dividing the
    same batch over ranks in another way never changes it. Warm-up starts at the unscaled rate, or
    at zero where the batch is the reference batch.

    Parameters
    ----------
    section
        Peak, warm-up and decay.
    step
        Number of updates made so far.
    total_steps
        Length of the run; the cosine ends there.
    global_batch
        Samples per step over all ranks.
    epoch_steps
        Steps of one pass over the training windows, for ``warmup_epochs``.
    plateaus
        How often the validation loss stopped falling so far, for the ``plateau`` decay.
    """
    factor = global_batch / section.reference_batch
    peak = section.learning_rate * factor
    warmup = warmup_steps(section, epoch_steps)
    if step < warmup:
        start = section.learning_rate if factor > 1 else 0.0
        return start + (peak - start) * (step + 1) / warmup
    if section.decay == "plateau":
        return peak * section.plateau_factor**plateaus
    if section.decay == "none":
        return peak
    done = (step - warmup) / max(1, total_steps - warmup)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def warmup_steps(section: OptimiserSection, epoch_steps: float) -> int:
    """Steps of warm-up, from its length in steps or in epochs."""
    if section.warmup_epochs is None:
        return section.warmup_steps
    return math.ceil(section.warmup_epochs * epoch_steps)
