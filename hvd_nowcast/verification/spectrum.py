"""Mean power spectra, as sums that add up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hvd_nowcast.verification.accumulators import (
    AdditiveSums,
    Counts,
    Field,
    Floats,
    scored_frames,
)
from hvd_nowcast.verification.baselines import import_pysteps

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, eq=False)
class SpectrumSums(AdditiveSums):
    """Sum of radially averaged power spectra (RAPSD) of single fields.

    The spectrum is that of the central square of the frame, because wave numbers of a rectangle
    would mix wavelengths, and of ``10 log10(max(R, floor) / floor)`` when a floor is given, so
    that it is not that of the few heaviest cells. Pixels that are not valid are no rain.

    Attributes
    ----------
    leads
        Places of the lead times that are used.
    side
        Side of the square in pixels.
    floor
        Weakest rain in the unit of the field, or None for the spectrum of the field itself.
    power
        Sum of the spectra, shape (L, K) for L lead times and K wave numbers.
    fields
        Number of spectra in the sum, shape (L,).
    """

    leads: tuple[int, ...]
    side: int
    floor: float | None
    power: Floats
    fields: Counts

    @classmethod
    def zero(cls, leads: Sequence[int], shape: tuple[int, int], floor: float | None) -> Self:
        """Nothing summed yet, for frames of a shape (y, x)."""
        side = min(shape)
        power = np.zeros((len(leads), (side + 1) // 2))
        return cls(tuple(leads), side, floor, power, np.zeros(len(leads), np.int64))

    def update(self, forecast: Field, observed: Field) -> Self:
        """Add one forecast, shape (all lead times, y, x), in physical units.

        Raises
        ------
        MissingDependencyError
            When pySTEPS is not installed.
        """
        import_pysteps()
        from pysteps.utils.spectral import rapsd

        places = list(self.leads)
        power = [
            rapsd(self._square(frame.forecast), fft_method=np.fft)
            for frame in scored_frames(forecast[places], observed[places])
        ]
        return self + dataclasses.replace(
            self,
            power=np.reshape(power, self.power.shape),
            fields=np.ones(len(places), np.int64),
        )

    def _square(self, frame: Floats) -> Floats:
        """Central square of a frame, in decibel when there is a floor."""
        top, left = ((size - self.side) // 2 for size in frame.shape)
        square = frame[top : top + self.side, left : left + self.side]
        if self.floor is None:
            return square
        decibel: Floats = 10.0 * np.log10(np.maximum(square, self.floor) / self.floor)
        return decibel


def wavelengths(side: int, spacing: float) -> Floats:
    """Wavelengths of a spectrum without its mean, longest first, in the unit of the spacing.

    Parameters
    ----------
    side
        Side of the square in pixels.
    spacing
        Pixel size.
    """
    lengths: Floats = side * spacing / np.arange(1, (side + 1) // 2)
    return lengths
