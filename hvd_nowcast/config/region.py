"""Sections of a run that sees a part of its archive, or starts from another run."""

from __future__ import annotations

from dataclasses import dataclass

from hvd_nowcast.config.checks import require


@dataclass(frozen=True)
class RegionSection:
    """The part of the archive that a run learns from, as if the rest were not there.

    Attributes
    ----------
    name
        What the region is called.
    bounds
        First row, last row (excluded), first column and last column (excluded) of radar or scene.
    outline
        Corners of a polygon inside the bounds as (row, column); what lies outside counts as
        missing.
    gauge
        Of a watershed: its name.
    periods
        ISO times of beginnings and ends (excluded); training samples start inside them. ``null``
        takes the whole training split.
    """

    name: str = "region"
    bounds: tuple[int, int, int, int] | None = None
    outline: tuple[tuple[float, float], ...] | None = None
    gauge: str | None = None
    periods: tuple[tuple[str, str], ...] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        require(
            (self.bounds is None) != (self.gauge is None),
            "region: give either bounds (rows and columns) or gauge, not both or neither",
        )
        if self.bounds is not None:
            top, bottom, left, right = self.bounds
            require(
                0 <= top < bottom and 0 <= left < right,
                f"region.bounds are {list(self.bounds)}, expected [first row, last row, first "
                "column, last column], the last ones excluded",
            )
        require(
            self.outline is None or len(self.outline) >= 3,
            "region.outline needs at least three corners",
        )


@dataclass(frozen=True)
class StartSection:
    """Another run whose best weights this one starts from.

    Attributes
    ----------
    run
        Its folder, relative to the working directory.
    freeze
        Layers that are left as they are, by the beginning of their names.
    """

    run: str
    freeze: tuple[str, ...] = ()
