"""Radar reflectivity to rain rate by a named relation that is kept in the attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.grid import RELATIONS, ReflectivityRelation
from hvd_nowcast.shards.convert.source import Field

# Radars mark "no echo" with -32 dBZ or less; that is dry, while missing is NaN.
NO_ECHO_DBZ = -31.5


def relation_named(name: str) -> ReflectivityRelation:
    """Look up a reflectivity-rain relation.

    Raises
    ------
    ConfigError
        When it is not known.
    """
    if name not in RELATIONS:
        raise ConfigError(f"--relation {name}: expected one of {', '.join(RELATIONS)}")
    return RELATIONS[name]


def relation_of(attributes: dict[str, Any], wanted: str | None) -> ReflectivityRelation:
    """Choose a relation: the one asked for, the file's own, or Marshall and Palmer's.

    Parameters
    ----------
    attributes
        Global attributes of a file; ``zr_a`` and ``zr_b`` give its own relation.
    wanted
        Name in ``grid.RELATIONS``, or None.

    Raises
    ------
    ConfigError
        When the one asked for is not known.
    """
    if wanted is not None:
        return relation_named(wanted)
    if not {"zr_a", "zr_b"} <= set(attributes):
        return RELATIONS["marshall-palmer"]
    a, b = float(attributes["zr_a"]), float(attributes["zr_b"])
    named = [relation for relation in RELATIONS.values() if (relation.a, relation.b) == (a, b)]
    return named[0] if named else ReflectivityRelation("file", a, b, "attributes of the file")


def rain_from_reflectivity(relation: ReflectivityRelation) -> Callable[[Field], Field]:
    """Conversion of dBZ to mm h-1; at or below ``NO_ECHO_DBZ`` it is dry, NaN stays NaN.

    No rain is capped: what hail or clutter brings above 500 mm h-1 is masked and counted with all
    other impossible pixels.
    """

    def convert(reflectivity: Field) -> Field:
        with np.errstate(over="ignore"):
            rate = np.asarray(relation.rain_rate(reflectivity.astype(np.float64)))
        return np.where(reflectivity <= NO_ECHO_DBZ, 0.0, rate).astype(np.float32)

    return convert


def attributes_for(relation: ReflectivityRelation) -> dict[str, Any]:
    """Attributes that say how reflectivity became rain."""
    return {
        "zr_name": relation.name,
        "zr_a": relation.a,
        "zr_b": relation.b,
        "zr_no_echo_dbz": NO_ECHO_DBZ,
    }
