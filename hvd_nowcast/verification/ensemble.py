"""Sums that scores of ensembles are made of, and the scores.

The rules are those of `hvd_nowcast.verification.accumulators`: only pixels with an observation
count, and a member without a value there is no rain.

Shapes: ``M`` members, ``L`` lead times, ``T`` thresholds, ``y, x`` pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hvd_nowcast.verification.accumulators import AdditiveSums, Counts, Field, Floats
from hvd_nowcast.verification.quotients import plain, ratio

if TYPE_CHECKING:
    from typing_extensions import Self

# Enough for probabilities in steps of 5 %.
MEMBERS = 20
# Between the places whose ranks are counted, so that they tell nearly independent things.
RANK_KILOMETRES = 20.0


class ScoredMembers(NamedTuple):
    """The members and the observation at the pixels that are scored.

    Attributes
    ----------
    members
        Shape (M, pixels).
    observed
        Shape (pixels,).
    """

    members: Floats
    observed: Floats


@dataclass(frozen=True, eq=False)
class EnsembleSums(AdditiveSums):
    """Sums over valid pixels of what an ensemble is judged by.

    Attributes
    ----------
    members
        Size of the ensemble.
    thresholds
        In the unit of the field; an event is ``value >= threshold``.
    rank_stride
        Pixels between places whose ranks are counted.
    pixels
        Number of valid pixels, shape (L,).
    ranked_probability
        Sum of the continuous ranked probability score, shape (L,).
    variance, squared
        Sum of the variance of the members, and of the squared error of their mean, shape (L,).
    said, came
        Pixels at which so many members have the event, and how many of these saw it; shape
        (L, T, M + 1).
    ranks
        Pixels at which so many members are below the observation, shape (L, M + 1); where members
        equal it, the pixel counts in equal parts for each rank it might have. Pixels where the
        observation and all members are below the lowest threshold are left out.
    """

    members: int
    thresholds: tuple[float, ...]
    rank_stride: int
    pixels: Counts
    ranked_probability: Floats
    variance: Floats
    squared: Floats
    said: Counts
    came: Counts
    ranks: Floats

    @classmethod
    def zero(cls, members: int, leads: int, thresholds: Sequence[float], spacing: float) -> Self:
        """Nothing summed yet; pixels of a spacing in metres."""
        counts = np.zeros((leads, len(thresholds), members + 1), np.int64)
        return cls(
            members,
            tuple(map(float, thresholds)),
            max(1, round(1000.0 * RANK_KILOMETRES / spacing)),
            np.zeros(leads, np.int64),
            np.zeros(leads),
            np.zeros(leads),
            np.zeros(leads),
            counts,
            counts,
            np.zeros((leads, members + 1)),
        )

    def update(self, forecast: Field, observed: Field) -> Self:
        """Add one forecast.

        Parameters
        ----------
        forecast
            Members in physical units, shape (M, L, y, x), NaN where there is no value.
        observed
            Shape (L, y, x), NaN where missing.

        Raises
        ------
        ValueError
            When the number of members or the shape is another.
        """
        if forecast.shape != (self.members, *observed.shape):
            wanted = (self.members, *observed.shape)
            raise ValueError(f"members of shape {wanted} expected, got {forecast.shape}")
        every = [self._of(forecast[:, lead], observed[lead]) for lead in range(len(observed))]
        sums = (np.array(part) for part in zip(*every, strict=True))
        return self + type(self)(self.members, self.thresholds, self.rank_stride, *sums)

    def _of(self, forecast: Field, observed: Field) -> tuple[Any, ...]:
        """All sums of one lead time, in the order of the attributes."""
        all_pixels = _scored(forecast, observed)
        every = slice(self.rank_stride // 2, None, self.rank_stride)
        sparse = _scored(forecast[:, every, every], observed[every, every])
        error = all_pixels.members.mean(0) - all_pixels.observed
        tables = [self._events(all_pixels, threshold) for threshold in self.thresholds]
        return (
            all_pixels.observed.size,
            continuous_ranked_probability(all_pixels).sum(),
            all_pixels.members.var(0, ddof=1).sum(),
            np.square(error).sum(),
            [said for said, _ in tables],
            [came for _, came in tables],
            rank_counts(sparse, self.thresholds[0]),
        )

    def _events(self, pixels: ScoredMembers, threshold: float) -> tuple[Counts, Counts]:
        number = np.count_nonzero(pixels.members >= threshold, axis=0)
        event = pixels.observed >= threshold
        size = self.members + 1
        return np.bincount(number, minlength=size), np.bincount(number[event], minlength=size)


def _scored(forecast: Field, observed: Field) -> ScoredMembers:
    valid = ~np.isnan(observed)
    members = np.nan_to_num(forecast[:, valid]).astype(np.float64)
    return ScoredMembers(members, observed[valid].astype(np.float64))


def continuous_ranked_probability(pixels: ScoredMembers) -> Floats:
    """CRPS of each pixel, ``mean |x - y| - mean |x - x'| / 2`` over all pairs of members.

    Hersbach 2000 (doi:10.1175/1520-0434(2000)015<0559:DOTCRP>2.0.CO;2). The mean difference of
    the pairs follows from the members in their order, in place of all pairs.
    """
    members = np.sort(pixels.members, axis=0)
    count = len(members)
    place = 2.0 * np.arange(1, count + 1) - count - 1
    half_spread = np.einsum("m,mp->p", place, members) / count**2
    score: Floats = np.abs(members - pixels.observed).mean(0) - half_spread
    return score


def rank_counts(pixels: ScoredMembers, wet_threshold: float) -> Floats:
    """How many pixels have each rank, shape (M + 1,), see `EnsembleSums`."""
    dry_members = np.where(pixels.members < wet_threshold, 0.0, pixels.members)
    dry_observed = np.where(pixels.observed < wet_threshold, 0.0, pixels.observed)
    wet = (dry_observed > 0) | (dry_members > 0).any(0)
    members, observed = dry_members[:, wet], dry_observed[wet]
    below = np.count_nonzero(members < observed, axis=0)
    equal = np.count_nonzero(members == observed, axis=0)
    change = np.zeros(len(members) + 2)
    np.add.at(change, below, 1.0 / (equal + 1))
    np.add.at(change, below + equal + 1, -1.0 / (equal + 1))
    return np.cumsum(change)[:-1]


def ensemble_scores(sums: EnsembleSums) -> dict[str, Any]:
    """Scores of one ensemble, ready for JSON; undefined ones are None.

    ``crps`` in the unit of the field, ``spread`` (root of the mean variance) and ``error`` (root
    mean squared error of the mean), ``brier`` by threshold, each one per lead time;
    ``reliability``: by threshold the share of events for each probability, shape (L, M + 1);
    ``ranks``: share of each rank, shape (L, M + 1), and ``flat_ranks_chance``: chance of a rank
    histogram at least as uneven from a perfect ensemble, by a chi-square test.
    """
    pixels = np.maximum(sums.pixels, 1)
    probability = np.arange(sums.members + 1) / sums.members
    squared = np.square(probability) * sums.said - 2 * probability * sums.came + sums.came
    names = [str(threshold) for threshold in sums.thresholds]
    brier = squared.sum(-1) / pixels[:, np.newaxis]
    frequency = ratio(sums.came, sums.said)
    return {
        "members": sums.members,
        "crps": plain(sums.ranked_probability / pixels),
        "spread": plain(np.sqrt(sums.variance / pixels)),
        "error": plain(np.sqrt(sums.squared / pixels)),
        "brier": {name: plain(brier[:, place]) for place, name in enumerate(names)},
        "probability": plain(probability),
        "reliability": {name: plain(frequency[:, place]) for place, name in enumerate(names)},
        "said": {name: sums.said[:, place].tolist() for place, name in enumerate(names)},
        "ranks": plain(ratio(sums.ranks, sums.ranks.sum(-1, keepdims=True))),
        "flat_ranks_chance": plain(flat_ranks_chance(sums.ranks)),
    }


def flat_ranks_chance(ranks: Floats) -> Floats:
    """P-value of a chi-square test of flat ranks for each lead time, NaN without any rank."""
    from scipy.stats import chisquare

    known = ranks.sum(-1) > 0
    chance = np.full(len(ranks), np.nan)
    if known.any():
        chance[known] = chisquare(ranks[known], axis=-1).pvalue
    return chance
