"""Figures of a run: scores, performance, spectra, maps and training curves, as PNG files.

matplotlib is imported when the first figure is drawn. Nothing here opens a window or keeps a
figure open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvd_nowcast.plots.ensemble import ensemble_figure
from hvd_nowcast.plots.forecast_file import plot_forecast_file
from hvd_nowcast.plots.maps import example_figure
from hvd_nowcast.plots.scores import performance_figure, scores_figure
from hvd_nowcast.plots.sharing import measured, save_sharing_figure
from hvd_nowcast.plots.spectra import spectra_figure
from hvd_nowcast.plots.style import save_figure
from hvd_nowcast.plots.training import save_training_figure
from hvd_nowcast.verification.example import Example

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "measured",
    "plot_forecast_file",
    "save_evaluation_figures",
    "save_sharing_figure",
    "save_training_figure",
]


def save_evaluation_figures(
    scores: Mapping[str, Any],
    example: Example | None,
    folder: str | Path,
    worst: Example | None = None,
) -> list[Path]:
    """Draw an evaluation: ``scores.png``, ``performance.png``, ``spectra.png``, ``maps.png``.

    Of ensembles also ``ensemble.png``, and of the worst start ``worst.png``.

    Parameters
    ----------
    scores
        `Evaluation.to_json()`, or the file made of it.
    example
        Forecast for the maps; without it there are none.
    folder
        Made when it is not there.
    worst
        The worst start; without it, it has no maps.

    Returns
    -------
    list of pathlib.Path
        The files that were written.

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.
    OutputError
        When a file cannot be written.
    """
    drawings: dict[str, Callable[[], Figure]] = {
        "scores": partial(scores_figure, scores),
        "performance": partial(performance_figure, scores),
    }
    if scores["spectra"]["power"]:
        drawings["spectra"] = partial(spectra_figure, scores)
    if scores.get("ensembles"):
        drawings["ensemble"] = partial(ensemble_figure, scores)
    if example is not None:
        drawings["maps"] = partial(example_figure, scores, example)
    if worst is not None:
        chosen = "the start at which the model did worst"
        drawings["worst"] = partial(example_figure, scores, worst, chosen)
    return [save_figure(draw, Path(folder) / f"{name}.png") for name, draw in drawings.items()]
