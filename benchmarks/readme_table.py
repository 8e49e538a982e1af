"""The table of figures in README: rows of each benchmark, under its name, machine and date."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from figures import Figure

BEGIN, END = "<!-- made by python -m benchmarks -->", "<!-- end of the table -->"
HEAD = ["| | measured | ceiling | wanted | |", "|---|---|---|---|---|"]
NAME = re.compile(r"\| \*\*(\w+)\*\*")

Rows = list[str]


def updated(readme: str, results: Sequence[Mapping[str, Any]], order: Sequence[str]) -> str:
    """README with what was found; rows of other benchmarks, of other machines too, stay.

    Parameters
    ----------
    readme
        Its text.
    results
        What benchmarks found, with ``name``, ``machine``, ``date``, ``quick`` and ``figures``.
    order
        Names of all benchmarks; rows of others are left out.

    Raises
    ------
    ValueError
        When there is no place for the table.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(f"there is no table between one line '{BEGIN}' and one '{END}'")
    before, rest = readme.split(BEGIN)
    table, after = rest.split(END)
    groups = groups_of(table) | {found["name"]: rows_of(found) for found in results}
    rows = [row for name in order for row in groups.get(name, [])]
    return "\n".join([f"{before}{BEGIN}", "", *HEAD, *rows, "", f"{END}{after}"])


def groups_of(table: str) -> dict[str, Rows]:
    """Rows of each benchmark in a table."""
    groups: dict[str, Rows] = {}
    rows: Rows = []
    for line in table.splitlines():
        if name := NAME.match(line):
            rows = groups[name[1]] = []
        if line.startswith("|"):
            rows.append(line)
    return groups


def rows_of(found: Mapping[str, Any]) -> Rows:
    """A row that names the benchmark, and one for each of its figures."""
    quick = ", `--quick`" if found["quick"] else ""
    rows = [f"| **{found['name']}**{quick}, {found['machine']}, {found['date']} | | | | |"]
    for one in (Figure(**one) for one in found["figures"]):
        ceiling = "" if one.ceiling is None else f"{one.ceiling:.2f}"
        rows.append(f"| {one.title} | {one.measured} | {ceiling} | {one.wanted} | {one.verdict} |")
    return rows
