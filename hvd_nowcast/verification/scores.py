"""From pooled sums to scores by lead time; undefined ones are NaN, ``null`` in JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hvd_nowcast.optional import import_optional
from hvd_nowcast.verification.accumulators import (
    ContingencySums,
    ErrorSums,
    Field,
    Floats,
    FssSums,
)
from hvd_nowcast.verification.quotients import plain, ratio

if TYPE_CHECKING:
    from typing_extensions import Self

FSS_KILOMETRES = (1.0, 5.0, 20.0)
# The one that is shown where there is room for one.
SHOWN_FSS = "5km"

# Our name of a score -> method of the package `scores`.
_CONTINGENCY_METHODS = {
    "csi": "critical_success_index",
    "pod": "probability_of_detection",
    "far": "false_alarm_ratio",
    "sucr": "success_ratio",
    "bias": "frequency_bias",
}


@dataclass(frozen=True)
class SourceSums:
    """All that is summed for one source of forecasts (but spectra)."""

    contingency: ContingencySums
    errors: ErrorSums
    fss: FssSums

    @classmethod
    def zero(cls, leads: int, thresholds: Sequence[float], windows: Sequence[int]) -> Self:
        """Nothing scored yet; FSS windows in pixels."""
        return cls(
            ContingencySums.zero(leads, thresholds),
            ErrorSums.zero(leads),
            FssSums.zero(leads, thresholds, windows),
        )

    def update(self, forecast: Field, observed: Field) -> Self:
        """Add one forecast, shape (leads, y, x), physical units, NaN where there is no value."""
        return type(self)(
            self.contingency.update(forecast, observed),
            self.errors.update(forecast, observed),
            self.fss.update(forecast, observed),
        )

    def __add__(self, other: Self) -> Self:
        """Add the sums of another set."""
        return type(self)(
            self.contingency + other.contingency,
            self.errors + other.errors,
            self.fss + other.fss,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, ready for JSON."""
        return {
            field.name: getattr(self, field.name).to_dict() for field in dataclasses.fields(self)
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Back from `to_dict`."""
        return cls(
            ContingencySums.from_dict(plain["contingency"]),
            ErrorSums.from_dict(plain["errors"]),
            FssSums.from_dict(plain["fss"]),
        )


def import_scores() -> None:
    """Import the package `scores`, which brings SciPy and xarray."""
    import_optional("scores.categorical", "verification needs the package scores", "scores")


def second_threshold(thresholds: Sequence[float]) -> float:
    """Choose the threshold that is shown where there is room for one."""
    return thresholds[min(1, len(thresholds) - 1)]


def fss_windows(spacing: float, kilometres: Sequence[float] = FSS_KILOMETRES) -> tuple[int, ...]:
    """Sides of the FSS windows in pixels, at least one.

    Parameters
    ----------
    spacing
        Pixel size in metres.
    kilometres
        Wanted sides; each becomes the nearest whole number of pixels.
    """
    return tuple(max(1, round(side * 1000.0 / spacing)) for side in kilometres)


def contingency_scores(sums: ContingencySums) -> dict[str, Floats]:
    """CSI, POD, FAR, SUCR and BIAS of pooled counts, shape (leads, thresholds) each.

    With hits H, misses M and false alarms F: ``csi = H / (H + M + F)``, ``pod = H / (H + M)``,
    ``far = F / (H + F)``, ``sucr = H / (H + F)``, ``bias = (H + F) / (H + M)``.

    Raises
    ------
    MissingDependencyError
        When the package `scores` is not installed.
    """
    import_scores()
    import xarray
    from scores.categorical import BasicContingencyManager

    counts = {
        "tp_count": sums.hits,
        "fn_count": sums.misses,
        "fp_count": sums.false_alarms,
        "tn_count": sums.correct_negatives,
    }
    counts["total_count"] = sum(counts.values(), start=np.zeros_like(sums.hits))
    manager = BasicContingencyManager(
        {
            name: xarray.DataArray(values, dims=("lead", "threshold"))
            for name, values in counts.items()
        }
    )
    return {
        name: _finite(getattr(manager, method)().to_numpy())
        for name, method in _CONTINGENCY_METHODS.items()
    }


def _finite(values: Floats) -> Floats:
    """Values with NaN for infinity: the bias is undefined when there was no event."""
    return np.where(np.isfinite(values), values, np.nan)


def fractions_skill_score(sums: FssSums) -> Floats:
    """FSS of pooled sums, shape (leads, thresholds, windows).

    ``FSS = 1 - sum (P_f - P_o)**2 / (sum P_f**2 + sum P_o**2)``.
    """
    reference = sums.forecast_squared + sums.observed_squared
    return 1.0 - ratio(reference - 2.0 * sums.product, reference)


def error_scores(sums: ErrorSums) -> dict[str, Floats]:
    """Mean absolute and root mean squared error in the unit of the field, shape (leads,)."""
    return {
        "mae": ratio(sums.absolute, sums.pixels),
        "rmse": np.sqrt(ratio(sums.squared, sums.pixels)),
    }


def score_table(
    sums: SourceSums, kilometres: Sequence[float] = FSS_KILOMETRES
) -> dict[str, dict[str, list[float | None]]]:
    """All scores of one source as ``{metric: {threshold: [one per lead time]}}``.

    Thresholds are written ``"1.0"``, those of FSS ``"1.0@5km"`` (with the side of the window), and
    ``"all"`` stands for errors, which have none. Undefined scores are None.
    """
    thresholds = [str(threshold) for threshold in sums.contingency.thresholds]
    table = {
        metric: dict(zip(thresholds, plain(values.T), strict=True))
        for metric, values in contingency_scores(sums.contingency).items()
    }
    skill = fractions_skill_score(sums.fss)
    table["fss"] = {
        f"{threshold}@{side:g}km": column
        for place, side in enumerate(kilometres)
        for threshold, column in zip(thresholds, plain(skill[:, :, place].T), strict=True)
    }
    for metric, errors in error_scores(sums.errors).items():
        table[metric] = {"all": plain(errors)}
    return table
