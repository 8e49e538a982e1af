"""What a benchmark says: figures with their spread, their ceiling and what is wanted of them."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured ratio, or one that is missing.

    Attributes
    ----------
    title
        What it is of what.
    value, least, most
        Median of the rounds, and their spread; None where it was not measured.
    at_least, at_most
        What is wanted, None where nothing is.
    ceiling
        What can be had at best, measured in the same run.
    reason
        Why it is short, or how to measure what was not.
    """

    title: str
    value: float | None
    least: float | None
    most: float | None
    at_least: float | None = None
    at_most: float | None = None
    ceiling: float | None = None
    reason: str = ""

    @property
    def measured(self) -> str:
        """The value with its spread."""
        if self.value is None:
            return ""
        return f"{self.value:.3g} ({self.least:.3g} to {self.most:.3g})"

    @property
    def wanted(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:g} to {self.at_most:g}"
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return "" if self.at_most is None else f"at most {self.at_most:g}"

    @property
    def met(self) -> bool:
        if self.value is None:
            return False
        return (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )

    @property
    def fraction_of_ceiling(self) -> float | None:
        """1 at the ceiling and less below it, also where less is better."""
        if not self.ceiling or self.value is None:
            return None
        return self.ceiling / self.value if self.at_most is not None else self.value / self.ceiling

    @property
    def verdict(self) -> str:
        if self.value is None:
            return f"not measured: {self.reason}"
        if not self.wanted or self.met:
            return "met" if self.wanted else ""
        is_low = self.at_least is not None and self.value < self.at_least
        by = f"short by {abs(self.value / (self.at_least if is_low else self.at_most) - 1):.1%}"
        return f"{by}: {self.reason}" if self.reason else by


def ratio_figure(
    title: str,
    above: Sequence[float],
    below: Sequence[float],
    at_least: float | None = None,
    at_most: float | None = None,
    ceiling: float | None = None,
) -> Figure:
    """Ratio of what two contenders took in the same rounds."""
    return Figure(title, *ratio(above, below), at_least, at_most, ceiling)


def ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and largest ratio of the rounds."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def beside(ours: float, flow: float, ahead: bool) -> str:
    """Our score beside that of optical flow, for a table; a star where ours is behind."""
    return f"{ours:.3f} / {flow:.3f}{' ' if ahead else '*'}"


def power_ratio(found: dict[str, Any], wavelength_km: int, minutes: int) -> float:
    """Power of our forecast at a wavelength over that observed, as an evaluation has it."""
    spectra = found["spectra"]
    ratios: list[float] = spectra["ratio"]["model"][f"{wavelength_km}km"]
    return ratios[spectra["lead_minutes"].index(minutes)]


def publish(name: str, figures: Sequence[Figure], **details: object) -> None:
    """Print the figures for people, and in a last line for programs.

    Parameters
    ----------
    name
        Of the benchmark.
    figures
        The first is the one the benchmark is about.
    details
        More for the last line.
    """
    width = max(len(figure.title) for figure in figures)
    for figure in figures:
        ceiling = "" if figure.ceiling is None else f"ceiling {figure.ceiling:.3f}"
        print(
            f"{figure.title:<{width}}  {figure.measured:<26} {ceiling:<14} "
            f"{figure.wanted:<14} {figure.verdict}".rstrip()
        )
    first = figures[0]
    result = {
        "name": name,
        "ratio": first.value,
        "ceiling": first.ceiling,
        "fraction_of_ceiling": first.fraction_of_ceiling,
        "spread": [first.least, first.most],
        "load": os.getloadavg()[0],
        "figures": [asdict(figure) for figure in figures],
        **details,
    }
    print(json.dumps(_rounded(result)))


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
