"""How single starts went beside another source, and which of them went worst."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hvd_nowcast.verification.accumulators import ContingencySums, Field
from hvd_nowcast.verification.example import Example
from hvd_nowcast.verification.quotients import plain
from hvd_nowcast.verification.scores import contingency_scores, second_threshold

if TYPE_CHECKING:
    from typing_extensions import Self

# What the model is held against: the first of them that there is.
OTHERS = ("optical_flow", "persistence")
WORST = 5
# With events on fewer of the pixels one shower decides a CSI.
EVENT_SHARE = 0.01


@dataclass(frozen=True)
class StartRecord:
    """How one start went.

    Attributes
    ----------
    start
        Time of the newest input frame, UTC.
    wet_share
        Share of the observed pixels at or above the first threshold, all lead times together.
    event_share
        The same at the second threshold and the last lead time.
    csi
        Source -> CSI at the second threshold and the lead times of `recorded_leads`, None where
        undefined; the model and the source that it is held against.
    """

    start: np.datetime64
    wet_share: float
    event_share: float
    csi: dict[str, list[float | None]]

    @classmethod
    def of(cls, example: Example, thresholds: Sequence[float]) -> Self:
        """Score a start by itself."""
        threshold = second_threshold(thresholds)
        places = recorded_leads(len(example.observed))
        other = [source for source in OTHERS if source in example.forecasts][:1]
        return cls(
            example.start,
            _share(example.observed, thresholds[0]),
            _share(example.observed[-1], threshold),
            {
                source: _csi(example.forecasts[source][places], example.observed[places], threshold)
                for source in ["model", *other]
                if source in example.forecasts
            },
        )

    @property
    def margin(self) -> float:
        """CSI of the model at the last lead time, less that of the other source."""
        ours, theirs = (values[-1] or 0.0 for values in self.csi.values())
        return ours - theirs

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return vars(self) | {"start": str(self.start.astype("datetime64[s]"))}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Back from `to_dict`."""
        return cls(**{**plain, "start": np.datetime64(plain["start"], "s")})


def recorded_leads(leads: int) -> list[int]:
    """Places of the middle and the last lead time, one where they are the same."""
    return sorted({(leads - 1) // 2, leads - 1})


def worst_starts(records: Iterable[StartRecord], count: int = WORST) -> list[StartRecord]:
    """Starts at which the model was furthest behind the other source, the worst first.

    They are ordered by the difference of the CSI at the last lead time, because a ratio would
    choose starts at which both are near zero; and only starts count at which at least
    `EVENT_SHARE` of the observed pixels had an event then.

    Parameters
    ----------
    records
        Of all starts; none is chosen where there was no other source.
    count
        How many to choose.
    """
    judged = [
        record for record in records if record.event_share >= EVENT_SHARE and len(record.csi) > 1
    ]
    return sorted(judged, key=lambda record: (record.margin, record.start))[:count]


def worst_scores(
    records: Iterable[StartRecord], lead_minutes: Sequence[float], thresholds: Sequence[float]
) -> dict[str, Any]:
    """Describe the worst starts, ready for JSON, with what they were judged by.

    Parameters
    ----------
    records
        Of all starts.
    lead_minutes, thresholds
        Of the evaluation.
    """
    return {
        "threshold": second_threshold(thresholds),
        "lead_minutes": [lead_minutes[i] for i in recorded_leads(len(lead_minutes))],
        "least_event_share": EVENT_SHARE,
        "starts": [record.to_dict() for record in worst_starts(records)],
    }


def worst_example(
    records: Iterable[StartRecord], examples: Iterable[Example | None]
) -> Example | None:
    """Find the worst start among those that were kept whole."""
    return next(
        (
            example
            for worst in worst_starts(records, 1)
            for example in examples
            if example is not None and example.start == worst.start
        ),
        None,
    )


def _share(observed: Field, threshold: float) -> float:
    known = np.count_nonzero(~np.isnan(observed))
    return np.count_nonzero(observed >= threshold) / max(1, known)


def _csi(forecast: Field, observed: Field, threshold: float) -> list[float | None]:
    counts = ContingencySums.zero(len(observed), [threshold]).update(forecast, observed)
    return plain(contingency_scores(counts)["csi"][:, 0])
