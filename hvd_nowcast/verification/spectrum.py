"""Mean power spectra, as sums that add up."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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


OBSERVED = "observed"
# Wavelengths at which the sharpness of a forecast is told.
RATIO_KILOMETRES = (4.0, 8.0, 16.0, 32.0, 64.0)


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


def spectra_scores(
    spectra: Mapping[str, SpectrumSums], side: int, spacing: float
) -> dict[str, Any]:
    """Mean spectra by source, and how they compare with the one observed, ready for JSON.

    Parameters
    ----------
    spectra
        Source, and ``observed``, -> sums; may be empty.
    side
        Side of the square in pixels.
    spacing
        Pixel size in kilometres.

    Returns
    -------
    dict
        ``wavelength_km``, ``power`` and ``ratio`` (see `power_ratios`).
    """
    return {
        "wavelength_km": wavelengths(side, spacing).tolist(),
        "power": {
            name: (sums.power / np.maximum(sums.fields, 1)[:, np.newaxis])[:, 1:].tolist()
            for name, sums in spectra.items()
        },
        "ratio": {
            name: power_ratios(sums, spectra[OBSERVED], spacing)
            for name, sums in spectra.items()
            if name != OBSERVED
        },
    }


def power_ratios(
    forecast: SpectrumSums, observed: SpectrumSums, spacing: float
) -> dict[str, list[float | None]]:
    """Mean power of a forecast over that observed, by wavelength; below 1 where it is smoother.

    Parameters
    ----------
    forecast, observed
        Sums over the same fields.
    spacing
        Pixel size in kilometres.

    Returns
    -------
    dict of str to list
        ``"8km"`` -> one ratio for each lead time, None where nothing was observed, at the wave
        number that is next to the wavelength; only wavelengths that pixels resolve and that are
        at least twice in the square, because few long waves tell little of their length.
    """
    ratios = {}
    for length in RATIO_KILOMETRES:
        wave = observed.side * spacing / length
        if 2 <= wave <= observed.power.shape[1] - 1:
            pairs = zip(forecast.power[:, round(wave)], observed.power[:, round(wave)], strict=True)
            ratios[f"{length:g}km"] = [float(ours / seen) if seen else None for ours, seen in pairs]
    return ratios


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
