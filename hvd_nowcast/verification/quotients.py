"""Quotients that may not exist, and their form in JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def ratio(above: NDArray[Any], below: NDArray[Any]) -> NDArray[np.float64]:
    """Quotient of two arrays, broadcast against each other; NaN where the divisor is 0."""
    above, below = np.broadcast_arrays(above, below)
    quotient: NDArray[np.float64] = np.divide(
        above, below, out=np.full(above.shape, np.nan), where=below != 0
    )
    return quotient


def plain(values: NDArray[np.floating[Any]]) -> list[Any]:
    """Nested lists with None for what is not a finite number."""
    if values.ndim > 1:
        return [plain(part) for part in values]
    return [float(value) if np.isfinite(value) else None for value in values]
