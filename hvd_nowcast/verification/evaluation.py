"""The result of an evaluation: sums of every source, and the scores made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hvd_nowcast.verification.accumulators import Field
from hvd_nowcast.verification.ensemble import EnsembleSums, ensemble_scores
from hvd_nowcast.verification.example import Example, wetter
from hvd_nowcast.verification.failures import (
    StartRecord,
    worst_example,
    worst_scores,
)
from hvd_nowcast.verification.scores import (
    FSS_KILOMETRES,
    SourceSums,
    fss_windows,
    score_table,
)
from hvd_nowcast.verification.spectrum import OBSERVED, SpectrumSums, spectra_scores

if TYPE_CHECKING:
    from typing_extensions import Self

SPECTRUM_MINUTES = (30.0, 60.0)
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
    records
        How each start went.
    example, worst
        The start with the most rain, and that at which the model was furthest behind the source
        it is held against (see `worst_starts`); not part of the JSON.
    """

    setting: Setting
    split: str
    starts: int
    sums: dict[str, SourceSums]
    spectra: dict[str, SpectrumSums]
    ensembles: dict[str, EnsembleSums] = field(default_factory=dict)
    records: tuple[StartRecord, ...] = ()
    example: Example | None = None
    worst: Example | None = None

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

    def with_start(self, start: Example) -> Self:
        """Record how a start went, and keep it whole when it has the most rain or is the worst."""
        records = (*self.records, StartRecord.of(start, self.setting.thresholds))
        return replace(
            self,
            records=records,
            example=wetter(self.example, start),
            worst=worst_example(records, [self.worst, start]),
        )

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
        records = self.records + other.records
        common = [name for name in self.spectra if name in other.spectra]
        return replace(
            self,
            split=split,
            starts=self.starts + other.starts,
            sums={name: sums + other.sums[name] for name, sums in self.sums.items()},
            spectra={name: self.spectra[name] + other.spectra[name] for name in common},
            ensembles={name: sums + other.ensembles[name] for name, sums in self.ensembles.items()},
            records=records,
            example=wetter(self.example, other.example),
            worst=worst_example(records, [self.worst, other.worst]),
        )

    def to_json(self) -> dict[str, Any]:
        """Scores, and the sums they are made of, as plain numbers and lists.

        ``{"lead_minutes": [...], "scores": {SOURCE: {METRIC: {THRESHOLD: [one per lead time]}}}}``
        and beside these ``quantity``, ``units``, ``split``, ``starts``, ``pooling``,
        ``fss_windows_pixels``, ``spectra``, ``worst`` and ``counts``, and ``ensembles`` where there
        are any (see `ensemble_scores`). Undefined scores are None.
        """
        setting = self.setting
        minutes = list(map(_whole, setting.lead_minutes))
        return {
            "lead_minutes": minutes,
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
            "spectra": {
                "lead_minutes": [minutes[i] for i in setting.spectrum_leads],
                "side_pixels": min(setting.shape),
                "decibel_above": setting.spectrum_floor,
                **spectra_scores(self.spectra, min(setting.shape), setting.spacing / 1000.0),
            },
            "ensembles": {name: ensemble_scores(sums) for name, sums in self.ensembles.items()},
            "worst": worst_scores(self.records, minutes, setting.thresholds),
            "counts": {
                "shape": list(setting.shape),
                "spectrum_floor": setting.spectrum_floor,
                "sums": {name: sums.to_dict() for name, sums in self.sums.items()},
                "spectra": {name: sums.to_dict() for name, sums in self.spectra.items()},
                "ensembles": {name: sums.to_dict() for name, sums in self.ensembles.items()},
                "records": [record.to_dict() for record in self.records],
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
        records = tuple(map(StartRecord.from_dict, counts.get("records", [])))
        return cls(setting, plain["split"], plain["starts"], sums, spectra, ensembles, records)


def first_member(source: str) -> str:
    """Name of the first member of an ensemble among the spectra."""
    return f"{source}_member"


def _whole(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value
