"""Where and in what unit: the map grid, reflectivity-rain relations and unit names."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid:
    """A regular map grid, row 0 in the north.

    Attributes
    ----------
    x, y
        Pixel centres in metres, shapes ``(columns,)`` and ``(rows,)``; ``x`` rises, ``y`` falls.
    projection
        Attributes of the CF grid-mapping variable (``grid_mapping_name``, ``proj4``, ...);
        empty when the projection is not known.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    projection: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.y), len(self.x)

    @property
    def spacing(self) -> float:
        """Mean pixel size in metres; 1000 for a grid of one pixel."""
        steps = [np.abs(np.diff(axis)).mean() for axis in (self.x, self.y) if len(axis) > 1]
        return float(np.mean(steps)) if steps else 1000.0

    @property
    def digest(self) -> str:
        """Hash that two shards share only when their grids are the same to a centimetre."""
        content = json.dumps(
            [np.round(self.x, 2).tolist(), np.round(self.y, 2).tolist(), self.projection],
            sort_keys=True,
        )
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ReflectivityRelation:
    """A power law ``Z = a R**b`` between reflectivity factor and rain rate.

    Attributes
    ----------
    name
        Name kept in the attributes of every file made with it.
    a, b
        Coefficients for Z in mm6 m-3 and R in mm h-1.
    source
        Where the coefficients come from.
    """

    name: str
    a: float
    b: float
    source: str

    def rain_rate(self, reflectivity: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Rain rate in mm h-1 of a reflectivity in dBZ, NaN where that is NaN."""
        return (10.0 ** (reflectivity / 10.0) / self.a) ** (1.0 / self.b)

    def reflectivity(self, rain_rate: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Reflectivity in dBZ of a positive rain rate in mm h-1."""
        return 10.0 * np.log10(self.a * rain_rate**self.b)


EARTH_RADIUS = 6_371_000.0


def equirectangular_grid(latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> Grid:
    """Grid in metres of rows of latitude and columns of longitude.

    The projection is the equirectangular one, true to scale at the middle latitude, so that pixels
    stay pixels.

    Parameters
    ----------
    latitude, longitude
        Pixel centres in degrees, falling and rising, shapes ``(rows,)`` and ``(columns,)``.

    References
    ----------
    Snyder 1987, Map projections: a working manual, chapter 12.
    """
    true_latitude = round(float(np.mean(latitude)), 2)
    centre = round(float(np.mean(longitude)), 2)
    scale = EARTH_RADIUS * np.cos(np.radians(true_latitude))
    projection = {
        "proj4": f"+proj=eqc +lat_ts={true_latitude} +lon_0={centre} +R={EARTH_RADIUS:.0f} +units=m"
    }
    x = scale * np.radians(longitude - centre)
    return Grid(x, EARTH_RADIUS * np.radians(latitude), projection)


RELATIONS = {
    relation.name: relation
    for relation in (
        ReflectivityRelation("marshall-palmer", 200.0, 1.6, "Marshall and Palmer 1948"),
        ReflectivityRelation("fmi", 223.0, 1.53, "Leinonen et al. 2012, Finnish rain"),
        ReflectivityRelation("smhi", 200.0, 1.5, "SMHI composite, Andersson et al. 2022"),
        ReflectivityRelation("wsr-88d", 300.0, 1.4, "Fulton et al. 1998, convective rain"),
    )
}
