"""What an evaluation found, whatever the task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Findings:
    """Scores ready to be shown, kept and drawn.

    Attributes
    ----------
    table
        For the screen.
    scores
        Ready for JSON.
    draw
        Draws figures into a folder and tells their paths.
    """

    table: str
    scores: dict[str, Any]
    draw: Callable[[Path], Sequence[Path]]
