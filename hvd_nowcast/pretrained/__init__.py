"""The model that comes with the package; ``MODEL_CARD.md`` beside it says what it can do."""

from __future__ import annotations

from pathlib import Path

NAME = "pretrained"
FOLDER = Path(__file__).parent


def run_path(path: Path) -> Path:
    """Where a run lies: as it says, or in the package for the word ``pretrained``.

    A folder of that name in the working directory goes before.
    """
    return FOLDER if str(path) == NAME and not path.exists() else path


def results_folder(run: Path) -> Path:
    """Where scores and figures of a run go: into it, or beside the work for the package's own."""
    return Path(f"{NAME}-results") if run == FOLDER else run
