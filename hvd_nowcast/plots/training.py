"""Loss and learning rate over the steps of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvd_nowcast.errors import RunFolderError
from hvd_nowcast.plots.style import FAINT, SOURCE_STYLES, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Records = Sequence[Mapping[str, Any]]


def save_training_figure(run_folder: str | Path, folder: str | Path | None = None) -> Path:
    """Draw ``training.png`` from the ``metrics.jsonl`` of a run.

    Parameters
    ----------
    run_folder
        The run.
    folder
        Where the figure goes; ``RUN/figures`` when left out.

    Raises
    ------
    RunFolderError
        When nothing has been logged yet.
    MissingDependencyError
        When matplotlib is not installed.
    """
    records = read_metrics(Path(run_folder) / "metrics.jsonl")
    if not records:
        raise RunFolderError(
            f"{run_folder}: metrics.jsonl holds nothing yet, train some steps first"
        )
    target = Path(folder or Path(run_folder) / "figures") / "training.png"
    return save_figure(partial(training_figure, records), target)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the records of a ``metrics.jsonl``; none when there is no such file."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break  # The last line of a killed run may be half written.
    return records


def training_figure(records: Records) -> Figure:
    """Training and validation loss, with the learning rate below.

    Parameters
    ----------
    records
        With ``step`` and some of ``loss``, ``validation_loss`` and ``learning_rate``.
    """
    figure = new_figure(7.5, 4.2)
    loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _draw_loss(loss, records)
    rate.plot(*_series(records, "learning_rate"), color=FAINT, linewidth=1.4)
    rate.set(ylabel="learning rate", xlabel="step")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2), useMathText=True)
    return figure


def _draw_loss(axes: Axes, records: Records) -> None:
    colour = SOURCE_STYLES["model"].colour
    steps, losses = _series(records, "loss")
    axes.plot(steps, losses, color="#9ccbe8", linewidth=1.0, label="training")
    steps, losses = _series(records, "validation_loss")
    axes.plot(steps, losses, "o-", color=colour, linewidth=2.0, markersize=4, label="validation")
    axes.set_ylabel("loss")
    if losses:
        best = min(range(len(losses)), key=losses.__getitem__)
        axes.set_title(f"best validation loss {losses[best]:.4g} at step {steps[best]}")
        axes.plot(steps[best], losses[best], "o", ms=9, mfc="none", mec=colour, mew=1.5)
    axes.legend(frameon=False, fontsize=8.5)


def _series(records: Records, name: str) -> tuple[list[int], list[float]]:
    pairs = [(record["step"], record[name]) for record in records if record.get(name) is not None]
    return [step for step, _ in pairs], [value for _, value in pairs]
