"""The result of an evaluation: sums of every source, and how they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hvd_nowcast import console
from hvd_nowcast.verification.accumulators import Field
from hvd_nowcast.verification.ensemble import EnsembleSums, ensemble_scores
from hvd_nowcast.verification.example import Example, wetter
from hvd_nowcast.verification.scores import (
    FSS_KILOMETRES,
    SourceSums,
    fss_windows,
    score_table,
)
from hvd_nowcast.verification.spectrum import SpectrumSums, wavelengths

if TYPE_CHECKING:
    from typing_extensions import Self

OBSERVED = "observed"
SPECTRUM_MINUTES = (30.0, 60.0)
TABLE_MINUTES = (5.0, 10.0, 15.0, 30.0, 45.0, 60.0)
POOLING = (
    "Counts and sums are pooled over all starts, and scores are ratios of the pooled sums. Only "
    "pixels with an observation count, the same ones for every source; a forecast without a value "
    "there counts as no rain. An event is a value at or above the threshold. FSS windows reach "
    "over the border and over missing pixels as if no event were there."
)


@dataclass(frozen=True)
class Setting:
    """What is scored; two evaluations add up only when it is the same.

    Attributes
    ----------
    quantity
        ``rain_rate`` or ``vil``.
    units
        Unit of the thresholds and errors.
    thresholds
        Of the events.
    lead_minutes
        Minutes after the newest input frame.
    spacing
        Pixel size in metres.
    shape
        Rows and columns.
    spectrum_floor
        Weakest rain of the spectra, None when they are those of the field itself.
    """

    quantity: str
    units: str
    thresholds: tuple[float, ...]
    lead_minutes: tuple[float, ...]
    spacing: float
    shape: tuple[int, int]
    spectrum_floor: float | None

    @property
    def spectrum_leads(self) -> tuple[int, ...]:
        """Places of the lead times that spectra are made for: 30 and 60 minutes, else the last."""
        wanted = [i for i, minutes in enumerate(self.lead_minutes) if minutes in SPECTRUM_MINUTES]
        return tuple(wanted or [len(self.lead_minutes) - 1])


@dataclass(frozen=True)
class Evaluation:
    """Sums over a set of forecasts.

    Attributes
    ----------
    setting
        What is scored.
    split
        Part of the archive.
    starts
        Number of forecasts of each source.
    sums
        Source -> sums.
    spectra
        Source, ``observed``, and the first member of each ensemble -> sums of spectra; empty
        without pySTEPS.
    ensembles
        Source -> sums, of those that make members.
    example
        The forecast with the most rain; not part of the JSON.
    """

    setting: Setting
    split: str
    starts: int
    sums: dict[str, SourceSums]
    spectra: dict[str, SpectrumSums]
    ensembles: dict[str, EnsembleSums] = field(default_factory=dict)
    example: Example | None = None

    @classmethod
    def zero(
        cls,
        setting: Setting,
        split: str,
        sources: Sequence[str],
        spectra: bool = True,
        ensembles: Sequence[str] = (),
        members: int = 0,
    ) -> Self:
        """Nothing scored yet.

        Parameters
        ----------
        setting, split
            What is scored.
        sources
            Of single forecasts.
        spectra
            Whether to make spectra.
        ensembles, members
            Sources of ensembles, and the size of these.
        """
        windows = fss_windows(setting.spacing)
        nothing = SourceSums.zero(len(setting.lead_minutes), setting.thresholds, windows)
        spectrum = SpectrumSums.zero(setting.spectrum_leads, setting.shape, setting.spectrum_floor)
        with_spectra = [OBSERVED, *sources, *map(first_member, ensembles)] if spectra else []
        no_members = EnsembleSums.zero(
            members, len(setting.lead_minutes), setting.thresholds, setting.spacing
        )
        return cls(
            setting,
            split,
            0,
            dict.fromkeys(sources, nothing),
            dict.fromkeys(with_spectra, spectrum),
            dict.fromkeys(ensembles, no_members),
        )

    def update(
        self,
        forecasts: Mapping[str, Field],
        observed: Field,
        ensembles: Mapping[str, Field] | None = None,
    ) -> Self:
        """Add one start.

        Parameters
        ----------
        forecasts
            Source -> forecast, shape (leads, y, x), physical units, NaN where there is no value.
        observed
            Same shape, NaN where missing.
        ensembles
            Source -> members, shape (members, leads, y, x).
        """
        drawn = ensembles or {}
        fields = {OBSERVED: observed, **forecasts}
        fields |= {first_member(name): members[0] for name, members in drawn.items()}
        return replace(
            self,
            starts=self.starts + 1,
            sums={name: sums.update(fields[name], observed) for name, sums in self.sums.items()},
            spectra={
                name: sums.update(fields[name], observed) for name, sums in self.spectra.items()
            },
            ensembles={
                name: sums.update(drawn[name], observed) for name, sums in self.ensembles.items()
            },
        )

    def with_example(self, example: Example | None) -> Self:
        """Keep the example that has more rain, this one or the present one."""
        return replace(self, example=wetter(self.example, example))

    def __add__(self, other: Self) -> Self:
        """Both sets together.

        Raises
        ------
        ValueError
            When they are of other settings or sources.
        """
        if (self.setting, list(self.sums), list(self.ensembles)) != (
            other.setting,
            list(other.sums),
            list(other.ensembles),
        ):
            raise ValueError("cannot add evaluations of different settings or sources")
        split = self.split if self.split == other.split else f"{self.split} + {other.split}"
        common = [name for name in self.spectra if name in other.spectra]
        return replace(
            self,
            split=split,
            starts=self.starts + other.starts,
            sums={name: sums + other.sums[name] for name, sums in self.sums.items()},
            spectra={name: self.spectra[name] + other.spectra[name] for name in common},
            ensembles={name: sums + other.ensembles[name] for name, sums in self.ensembles.items()},
        ).with_example(other.example)

    def to_json(self) -> dict[str, Any]:
        """Scores, and the sums they are made of, as plain numbers and lists.

        ``{"lead_minutes": [...], "scores": {SOURCE: {METRIC: {THRESHOLD: [one per lead time]}}}}``
        and beside these ``quantity``, ``units``, ``split``, ``starts``, ``pooling``,
        ``fss_windows_pixels``, ``spectra`` and ``counts``, and ``ensembles`` where there are any
        (see `ensemble_scores`). Undefined scores are None.
        """
        setting = self.setting
        return {
            "lead_minutes": [_whole(minutes) for minutes in setting.lead_minutes],
            "scores": {name: score_table(sums) for name, sums in self.sums.items()},
            "quantity": setting.quantity,
            "units": setting.units,
            "thresholds": list(setting.thresholds),
            "split": self.split,
            "starts": self.starts,
            "pooling": POOLING,
            "pixel_metres": setting.spacing,
            "fss_windows_pixels": {
                f"{side:g}km": pixels
                for side, pixels in zip(FSS_KILOMETRES, fss_windows(setting.spacing), strict=True)
            },
            "spectra": self._spectra_json(),
            "ensembles": {name: ensemble_scores(sums) for name, sums in self.ensembles.items()},
            "counts": {
                "shape": list(setting.shape),
                "spectrum_floor": setting.spectrum_floor,
                "sums": {name: sums.to_dict() for name, sums in self.sums.items()},
                "spectra": {name: sums.to_dict() for name, sums in self.spectra.items()},
                "ensembles": {name: sums.to_dict() for name, sums in self.ensembles.items()},
            },
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Back from `to_json`, to be added to another evaluation."""
        counts = plain["counts"]
        setting = Setting(
            plain["quantity"],
            plain["units"],
            tuple(plain["thresholds"]),
            tuple(float(minutes) for minutes in plain["lead_minutes"]),
            plain["pixel_metres"],
            (counts["shape"][0], counts["shape"][1]),
            counts["spectrum_floor"],
        )
        sums = {name: SourceSums.from_dict(part) for name, part in counts["sums"].items()}
        spectra = {name: SpectrumSums.from_dict(part) for name, part in counts["spectra"].items()}
        ensembles = {
            name: EnsembleSums.from_dict(part) for name, part in counts.get("ensembles", {}).items()
        }
        return cls(setting, plain["split"], plain["starts"], sums, spectra, ensembles)

    def table(self) -> str:
        """Text for the screen: CSI at the second threshold, and MAE, at a few lead times."""
        minutes = self.setting.lead_minutes
        places = [i for i, m in enumerate(minutes) if m in TABLE_MINUTES] or range(len(minutes))
        threshold = str(self.setting.thresholds[min(1, len(self.setting.thresholds) - 1)])
        scores = {name: score_table(sums) for name, sums in self.sums.items()}
        parts = []
        for title, metric, key in (
            (f"CSI at {threshold} {self.setting.units}", "csi", threshold),
            (f"MAE in {self.setting.units}", "mae", "all"),
        ):
            rows = [
                [name.replace("_", " "), *(table[metric][key][i] for i in places)]
                for name, table in scores.items()
            ]
            header = [title, *(f"{_whole(minutes[i])} min" for i in places)]
            parts.append(console.table(header, rows))
        if self.ensembles:
            parts.append(self._ensemble_table(places, threshold))
        return "\n\n".join([*parts, f"{self.starts} starts of the {self.split} split. {POOLING}"])

    def _ensemble_table(self, places: Sequence[int], threshold: str) -> str:
        scores = {name: ensemble_scores(sums) for name, sums in self.ensembles.items()}
        rows = []
        for title, value in (
            (f"CRPS in {self.setting.units}", lambda table, i: table["crps"][i]),
            (f"Brier score at {threshold}", lambda table, i: table["brier"][threshold][i]),
            ("spread over error", lambda table, i: _ratio(table["spread"][i], table["error"][i])),
        ):
            rows += [
                [f"{title}, {source}", *(value(table, i) for i in places)]
                for source, table in scores.items()
            ]
        members = max(sums.members for sums in self.ensembles.values())
        header = [f"{members} members"]
        header += [f"{_whole(self.setting.lead_minutes[i])} min" for i in places]
        return console.table(header, rows)

    def _spectra_json(self) -> dict[str, Any]:
        setting = self.setting
        side = min(setting.shape)
        return {
            "lead_minutes": [_whole(setting.lead_minutes[i]) for i in setting.spectrum_leads],
            "wavelength_km": wavelengths(side, setting.spacing / 1000.0).tolist(),
            "side_pixels": side,
            "decibel_above": setting.spectrum_floor,
            "power": {
                name: (sums.power / np.maximum(sums.fields, 1)[:, np.newaxis])[:, 1:].tolist()
                for name, sums in self.spectra.items()
            },
        }


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def first_member(source: str) -> str:
    """Name of the first member of an ensemble among the spectra."""
    return f"{source}_member"


def _whole(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value
