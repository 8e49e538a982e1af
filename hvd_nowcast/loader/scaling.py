"""From physical values to numbers a network likes, and back.

"No rain" is exactly 0 in every scaling: the zeros of a padded convolution and of missing pixels
then mean no rain. A scaling is fitted once on the training split and saved with the run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.shards.schema import Codes, Packing


@dataclass(frozen=True)
class LogRainScaling:
    """``z = log(1 + R / R0) / s`` with R the rain rate in mm h-1.

    Attributes
    ----------
    scale
        s, the root mean square of ``log(1 + R / R0)`` over wet pixels of the training split.
    reference
        R0 in mm h-1, about the weakest rain that counts.
    """

    scale: float
    reference: float = 0.1
    kind: str = "log-rain"

    def forward(self, values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Scaled values; NaN stays NaN."""
        return np.log1p(values / self.reference) / self.scale

    def inverse(self, scaled: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Rain rate in mm h-1, never negative."""
        return self.reference * np.expm1(np.maximum(scaled, 0.0) * self.scale)


@dataclass(frozen=True)
class LinearScaling:
    """``z = X / s``, for fields without a long tail such as SEVIR's 0-255 code.

    Attributes
    ----------
    scale
        s, the root mean square of X over wet pixels of the training split.
    """

    scale: float
    kind: str = "linear"

    def forward(self, values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Scaled values; NaN stays NaN."""
        return values / self.scale

    def inverse(self, scaled: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Physical value, never negative."""
        return np.maximum(scaled, 0.0) * self.scale


Scaling = LogRainScaling | LinearScaling
_KINDS = {"log-rain": LogRainScaling, "linear": LinearScaling}
_KIND_OF_QUANTITY = {"rain_rate": "log-rain", "vil": "linear"}


def fit_scaling(
    quantity: str, packing: Packing, wet_threshold: float, frames: Iterable[Codes]
) -> Scaling:
    """Fit the scaling of a quantity on stored frames.

    The codes are counted, so the moments are exact and no frame is kept in memory.

    Parameters
    ----------
    quantity
        ``rain_rate`` or ``vil``.
    packing
        How the codes are decoded.
    wet_threshold
        Weakest value that counts as wet.
    frames
        Stored codes, any shape.
    """
    table = packing.table().astype(np.float64)
    counts = np.zeros(len(table))
    for frame in frames:
        counts += np.bincount(frame.ravel(), minlength=len(table))
    kind = _KINDS[_KIND_OF_QUANTITY[quantity]]
    with np.errstate(invalid="ignore"):
        wet = np.flatnonzero((table >= wet_threshold) & (counts > 0))
    if not len(wet):
        return kind(scale=1.0)
    unscaled = kind(scale=1.0).forward(table[wet])
    return kind(scale=float(np.sqrt(np.average(unscaled**2, weights=counts[wet]))))


def scaling_to_dict(scaling: Scaling) -> dict[str, Any]:
    """Plain form for ``scaler.json``."""
    return asdict(scaling)


def scaling_from_dict(plain: dict[str, Any]) -> Scaling:
    """Back from the plain form.

    Raises
    ------
    ConfigError
        When the kind is not known or a value is missing.
    """
    try:
        return _KINDS[plain["kind"]](**plain)
    except (KeyError, TypeError) as problem:
        raise ConfigError(f"scaler.json holds no known scaling: {plain}") from problem
