"""Which place drains to which: flow directions of a grid, or pointers between river segments.

Directions are read by pyflwdir. Its import compiles nothing but takes a second, so it is imported
where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import InputError
from hvd_nowcast.optional import import_optional

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

OUTSIDE = -1
# Codes that end a path: ESRI (0, 255 is outside), PCRaster and LISFLOOD keypad (5).
D8_CODES = frozenset((0, 1, 2, 4, 8, 16, 32, 64, 128, 247, 255))
LDD_CODES = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 9, 255))
# Codes that only one of the two has.
ONLY_D8, ONLY_LDD = D8_CODES - LDD_CODES, LDD_CODES - D8_CODES


@dataclass(frozen=True)
class FlowNetwork:
    """Nodes that drain to one another: the cells of a grid, row by row, or river segments.

    Attributes
    ----------
    downstream
        Node that each node drains to, itself at an outlet, `OUTSIDE` where there is no node, int64
        of shape ``(nodes,)``.
    length
        Metres from a node to the next.
    slope
        Slope on that way, 1.
    area
        Own area of each node in km2, without what drains through it.
    """

    downstream: Integers
    length: Floats
    slope: Floats
    area: Floats

    def __post_init__(self) -> None:
        """Refuse arrays of different lengths.

        Raises
        ------
        ValueError
            When they are.
        """
        shapes = {len(getattr(self, name)) for name in ("downstream", "length", "slope", "area")}
        if len(shapes) != 1:
            raise ValueError(f"the arrays of a flow network have different lengths: {shapes}")

    @property
    def upstream_area(self) -> Floats:
        """Area that drains through each node in km2, its own included."""
        return self.accumulate(self.area)

    def accumulate(self, values: Floats) -> Floats:
        """Sum of a value over all that drains through each node, itself included."""
        return _flow(self.downstream).accuflux(values.astype(np.float64))

    def along_path(self, values: Floats) -> Floats:
        """Sum of a value on the way from each node to its outlet, both included."""
        return _flow(self.downstream).accuflux(values.astype(np.float64), direction="down")

    def drains_through(self, node: int) -> NDArray[np.bool_]:
        """Which nodes drain through one, itself included."""
        mark = np.zeros(len(self.downstream))
        mark[node] = 1.0
        return self.along_path(mark) > 0.5


def directions_to_pointers(directions: NDArray[Any], path: Path) -> Integers:
    """Downstream cell of every cell of a grid, row by row.

    Parameters
    ----------
    directions
        ESRI D8 codes (1 east, clockwise to 128, 0 an outlet, 255 outside) or the keypad codes of
        PCRaster and LISFLOOD (``ldd``: 1 to 9, 5 an outlet), row 0 in the north, shape (y, x).
    path
        The file they came from, for messages.

    Raises
    ------
    InputError
        When codes are of neither kind, or the flow runs in a circle.
    """
    codes = directions.astype(np.int64)
    kind = _kind_of(codes, path)
    clean = np.where(codes < 0, 255, codes).astype(np.uint8)
    if kind == "d8":
        clean[clean == 255] = 247  # What pyflwdir calls outside.
    pyflwdir = _pyflwdir()
    try:
        flow = pyflwdir.from_array(clean, ftype=kind, check_ftype=False)
    except ValueError as problem:
        raise InputError(
            path, f"has no outlet: {problem}", "Mark the outlet with 0 (D8) or 5 (ldd)"
        ) from problem
    pointers: Integers = np.asarray(flow.idxs_ds, np.int64)
    pointers[pointers >= pointers.size] = OUTSIDE
    inside = (clean != 247) if kind == "d8" else (clean != 255)
    pointers[~inside.ravel()] = OUTSIDE
    require_no_circle(pointers, path, codes.shape[1])
    return pointers


def require_no_circle(downstream: Integers, path: Path, columns: int | None = None) -> None:
    """Refuse a network in which water would run for ever.

    Parameters
    ----------
    downstream
        As in `FlowNetwork`.
    path
        For the message.
    columns
        Columns of the grid, when nodes are cells.

    Raises
    ------
    InputError
        Naming a node of a circle, or a pointer that leads nowhere.
    """
    nodes = len(downstream)
    if nodes and (downstream.max() >= nodes or downstream.min() < OUTSIDE):
        raise InputError(
            path,
            f"a node drains to number {int(downstream.max())}, but there are {nodes} nodes",
            "Give 0-based numbers of the next node, and -1 for an outlet",
        )
    rank = np.asarray(_flow(downstream).rank)
    lost = np.flatnonzero((rank < 0) & (downstream != OUTSIDE))
    if not lost.size:
        return
    node = int(lost[0])
    for _ in range(nodes):  # From a node that leads into the circle to one that lies on it.
        node = int(downstream[node])
    where = f"row {node // columns}, column {node % columns}" if columns else f"segment {node}"
    raise InputError(
        path,
        f"the flow runs in a circle through {where}; {lost.size} nodes never reach an outlet",
        "Correct the flow directions there, or mark an outlet",
    )


def _pyflwdir() -> Any:
    purpose = "flow directions need pyflwdir"
    return import_optional("pyflwdir", purpose, "'hvd_nowcast[flood]'")


def _flow(downstream: Integers) -> Any:
    pyflwdir = _pyflwdir()
    missing = downstream == OUTSIDE
    # pyflwdir marks what is outside by its own number.
    pointers = np.where(missing, np.arange(len(downstream)), downstream)
    return pyflwdir.Flwdir(idxs_ds=pointers.astype(np.intp))


def _kind_of(codes: Integers, path: Path) -> str:
    found = {int(code) for code in np.unique(codes)} - {code for code in (-1, -9999, 255)}
    if found <= D8_CODES and (found & ONLY_D8 or not found - {1, 2, 4, 8}):
        return "d8"
    if found <= LDD_CODES and found & ONLY_LDD:
        return "ldd"
    strange = sorted(found - (D8_CODES | LDD_CODES))[:5] or sorted(found)[:12]
    raise InputError(
        path,
        f"holds flow directions {', '.join(map(str, strange))}, which are neither ESRI D8 codes "
        "(0, 1, 2, 4 .. 128) nor those of PCRaster and LISFLOOD (1 to 9)",
        "Convert them to one of the two",
    )
