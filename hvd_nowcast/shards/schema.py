"""What a shard is: the quantities we know, how values are packed, and the header of a file.

A shard is a CF netCDF4 file with one packed variable ``(time, y, x)``, one chunk per frame,
row 0 in the north. Missing is a code of its own, never zero. ``sequence(time)`` changes where the
next frame does not follow the one before: at a gap in time or at the next event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.grid import Grid

# uint8 or uint16.
Codes = NDArray[np.unsignedinteger[Any]]
Times = NDArray[np.datetime64]

CODE_COUNTS = {"uint8": 256, "uint16": 65536}


@dataclass(frozen=True)
class Quantity:
    """A physical quantity that can be trained on.

    Attributes
    ----------
    name, units, standard_name, long_name
        As in the file; ``standard_name`` is None where CF has none.
    valid_min, valid_max
        Values outside are errors of the data.
    wet_threshold
        Weakest value that counts as rain.
    thresholds
        Those of the contingency scores.
    """

    name: str
    units: str
    standard_name: str | None
    long_name: str
    valid_min: float
    valid_max: float
    wet_threshold: float
    thresholds: tuple[float, ...]


QUANTITIES = {
    quantity.name: quantity
    for quantity in (
        Quantity(
            "rain_rate", "mm h-1", "rainfall_rate", "rain rate",
            0.0, 500.0, 0.1, (0.1, 1.0, 5.0, 10.0),
        ),
        # Thresholds of the SEVIR lineage, in its 0-254 code of vertically integrated liquid.
        Quantity(
            "vil", "1", None, "vertically integrated liquid, SEVIR code",
            0.0, 254.0, 16.0, (16.0, 74.0, 133.0, 160.0, 181.0, 219.0),
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Packing:
    """How values are stored: ``value = code * scale + offset``.

    Attributes
    ----------
    dtype
        ``uint8`` or ``uint16``.
    scale, offset
        CF ``scale_factor`` and ``add_offset``.
    fill
        Code of a missing pixel.
    """

    dtype: str
    scale: float
    offset: float
    fill: int

    def __post_init__(self) -> None:
        """Refuse settings that a damaged file or manifest might hold.

        Raises
        ------
        ValueError
            When codes could not be decoded.
        """
        finite = np.isfinite([self.scale, self.offset]).all()
        if self.dtype not in CODE_COUNTS or not finite or self.scale <= 0:
            raise ValueError(f"impossible packing {self.dtype} x {self.scale} + {self.offset}")
        if not 0 <= self.fill < CODE_COUNTS[self.dtype]:
            raise ValueError(f"the missing code {self.fill} does not fit {self.dtype}")

    def table(self) -> NDArray[np.float32]:
        """Value of every code, NaN for the missing one, shape ``(256,)`` or ``(65536,)``."""
        codes = np.arange(CODE_COUNTS[self.dtype], dtype=np.float64)
        values = (codes * self.scale + self.offset).astype(np.float32)
        values[self.fill] = np.nan
        return values

    def encode(self, values: NDArray[np.floating[Any]]) -> Codes:
        """Nearest codes of values, the missing code for NaN.

        Raises
        ------
        ValueError
            When a value does not fit, or would be stored as missing.
        """
        missing = np.isnan(values)
        codes = np.round((np.where(missing, self.offset, values) - self.offset) / self.scale)
        taken = (codes < 0) | (codes >= CODE_COUNTS[self.dtype]) | (codes == self.fill)
        if (taken & ~missing).any():
            worst = values[taken & ~missing].flat[0]
            raise ValueError(f"{worst:g} does not fit {self.dtype} with scale {self.scale:g}")
        return np.where(missing, self.fill, codes).astype(self.dtype)


RAIN_PACKING = Packing("uint16", 0.01, 0.0, 65535)


@dataclass(frozen=True)
class ShardHeader:
    """All of a shard but its frames.

    Attributes
    ----------
    path
        The file.
    quantity
        Name in `QUANTITIES`.
    packing
        How codes are decoded.
    grid
        Where the pixels lie.
    times
        Time of each frame, ``datetime64[s]``, shape ``(frames,)``.
    sequence
        Number of the sequence each frame belongs to, int32, shape ``(frames,)``.
    attributes
        Global attributes of the file.
    """

    path: Path
    quantity: str
    packing: Packing
    grid: Grid
    times: Times
    sequence: NDArray[np.int32]
    attributes: dict[str, Any] = field(default_factory=dict)
