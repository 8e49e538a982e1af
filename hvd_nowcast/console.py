"""All that is written to the screen: lines, tables, progress and the one error message."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def say(text: str = "") -> None:
    """Print one line of result on standard output, at once."""
    print(text, flush=True)


def note(text: str) -> None:
    """Print one line about what is going on, on standard error."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    note(f"warning: {text}")


def fail(text: str) -> None:
    """Print the one message that explains why the program ends."""
    note(f"error: {text}")


def progress(
    items: Iterable[Item] | None,
    what: str,
    total: int | None = None,
    unit: str = "it",
    initial: int = 0,
    hidden: bool = False,
) -> tqdm[Item]:
    """Iterate with a progress bar on a terminal; silent in a batch log, or where hidden."""
    return tqdm(  # type: ignore[return-value]
        items,
        desc=what,
        total=total,
        unit=unit,
        initial=initial,
        disable=hidden or None,
        leave=False,
    )


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out text columns: numbers to the right, text to the left.

    Parameters
    ----------
    header
        One title per column.
    rows
        Cells; floats are shown with three decimals, ``None`` as a dash.

    Returns
    -------
    str
        Lines joined by newlines, without a trailing one.
    """
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    texts = [any(isinstance(row[column], str) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(
            text.ljust(width) if is_text else text.rjust(width)
            for text, width, is_text in zip(row, widths, texts, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
