"""The learning rate, a pure function of the step."""

from __future__ import annotations

import math

from hvd_nowcast.config import OptimiserSection


def learning_rate(
    section: OptimiserSection, step: int, total_steps: int, global_batch: int
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
    """
    factor = global_batch / section.reference_batch
    peak = section.learning_rate * factor
    if step < section.warmup_steps:
        start = section.learning_rate if factor > 1 else 0.0
        return start + (peak - start) * (step + 1) / section.warmup_steps
    if section.decay == "none":
        return peak
    done = (step - section.warmup_steps) / max(1, total_steps - section.warmup_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
