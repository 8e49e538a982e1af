"""Score a model beside persistence and optical flow on one part of an archive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast import console
from hvd_nowcast.errors import ConfigError, InputError, MissingDependencyError
from hvd_nowcast.loader.thinning import thinned
from hvd_nowcast.nowcast.ablation import ablations
from hvd_nowcast.nowcast.longer import to_lead_time
from hvd_nowcast.nowcast.model import (
    EnsembleModel,
    NowcastModel,
    draw_members,
    middle_member,
)
from hvd_nowcast.nowcast.predictor import Predictor
from hvd_nowcast.nowcast.spacing import at_spacing
from hvd_nowcast.plots import save_evaluation_figures
from hvd_nowcast.shards.index import build_index
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.reader import ReaderPool
from hvd_nowcast.shards.schema import QUANTITIES
from hvd_nowcast.shards.split import SPLITS
from hvd_nowcast.verification.baselines import (
    import_pysteps,
    optical_flow,
    persistence,
    steps_ensemble,
)
from hvd_nowcast.verification.ensemble import MEMBERS
from hvd_nowcast.verification.evaluation import Evaluation, Setting
from hvd_nowcast.verification.example import Example
from hvd_nowcast.verification.findings import Findings
from hvd_nowcast.verification.scores import import_scores, second_threshold
from hvd_nowcast.verification.screen import screen_tables
from hvd_nowcast.verification.windows import Window, choose_starts, read_windows

Array = NDArray[np.float32]
Forecaster = Callable[[Array, int], Array]

SOURCES = ("model", "persistence", "optical_flow")


def evaluate(
    predictor: NowcastModel,
    shards_folder: str | Path,
    split: str = "test",
    every_minutes: int = 60,
    sources: Sequence[str] = SOURCES,
    members: int = MEMBERS,
    ablation: bool = False,
    minutes: int | None = None,
) -> Evaluation:
    """Score forecasts from regular starts of a split.

    Parameters
    ----------
    predictor
        The model.
    shards_folder
        Folder with ``manifest.json``. Frames more often than the model's are thinned, and pixels
        of another size resampled for the model alone: scores are those on the archive's grid.
    split
        ``train``, ``validation`` or ``test``.
    every_minutes
        A forecast starts (its newest input frame is) at each multiple of this in the day.
    sources
        Out of ``model``, ``persistence`` and ``optical_flow``.
    members
        Size of the ensembles, of a model that makes members and of STEPS beside it; 0 leaves them
        out.
    ablation
        Whether to score the model without parts of its input as well, see `ablations`.
    minutes
        Lead time of the last frame, see `to_lead_time`; as trained when None.

    Returns
    -------
    Evaluation
        Pooled sums of all starts; its example is the start with the most rain.

    Raises
    ------
    ConfigError
        When the split, a source, the minutes between starts or those ahead cannot be.
    InputError
        When the archive does not fit the model, or the split holds no such start.
    MissingDependencyError
        When the package `scores` is not installed.
    """
    folder = Path(shards_folder)
    whole = Manifest.load(folder)
    _check_fit(predictor, whole, folder, split)
    import_scores()
    pool = ReaderPool(folder)
    manifest, frames = thinned(whole, pool, predictor.step_seconds)
    # The model itself, and what it is without some of its input.
    models = {"model": predictor, **(ablations(predictor) if ablation else {})}
    spacing = manifest.grid.spacing
    variants = {
        source: at_spacing(to_lead_time(model, minutes), spacing)
        for source, model in models.items()
    }
    predictor = variants.pop("model")
    index = build_index(manifest, split, predictor.frames_in, predictor.frames_out)
    chosen = choose_starts(index, every_minutes, manifest.step_seconds)
    if not chosen:
        raise _no_starts(folder, split, every_minutes, len(index), predictor)
    usable = usable_sources(sources, predictor.frames_in)
    empty = _nothing_yet(predictor, manifest, split, [*usable, *variants], members)
    with closing(pool):
        windows = read_windows(index, frames, manifest.packing.table(), chosen)
        watched = console.progress(windows, "evaluating", total=len(chosen), unit="start")
        return score_windows(empty, watched, predictor, variants)


def score_windows(
    evaluation: Evaluation,
    windows: Iterable[Window],
    predictor: NowcastModel,
    variants: Mapping[str, NowcastModel] | None = None,
) -> Evaluation:
    """Add the forecasts of some windows to an evaluation.

    Parameters
    ----------
    evaluation
        Sums so far; its sources are the ones that are run.
    windows
        Start time and frames, shape (frames_in + frames_out, y, x), physical units.
    predictor
        The model.
    variants
        Other sources that are models.

    Returns
    -------
    Evaluation
        With these windows; the example is the one with the most rain so far.
    """
    thresholds = evaluation.setting.thresholds
    forecasters = _forecasters({"model": predictor, **(variants or {})}, thresholds[0])
    ensembles = _ensembles(predictor, evaluation)
    for start, frames in windows:
        inputs, observed = np.split(frames, [predictor.frames_in])
        drawn = {
            source: ensembles[source](inputs, len(observed)) for source in evaluation.ensembles
        }
        # The members of the model are drawn once: its one forecast is their median.
        forecasts = {
            source: middle_member(drawn[source])
            if source in drawn
            else forecasters[source](inputs, len(observed))
            for source in evaluation.sums
        }
        pixels = int(np.count_nonzero(observed >= second_threshold(thresholds)))
        shown = {source: forecasts[source] for source in SOURCES if source in forecasts}
        example = Example(start, inputs[-1], observed, shown, pixels)
        evaluation = evaluation.update(forecasts, observed, drawn).with_start(example)
    return evaluation


def usable_sources(sources: Sequence[str], frames_in: int) -> tuple[str, ...]:
    """Choose the sources that can be run here, and say why one cannot.

    Raises
    ------
    ConfigError
        When a source is not known.
    """
    unknown = sorted(set(sources) - set(SOURCES))
    if unknown:
        raise ConfigError(f"unknown source {', '.join(unknown)}: choose from {', '.join(SOURCES)}")
    if "optical_flow" not in sources:
        return tuple(sources)
    try:
        import_pysteps()
        problem = "" if frames_in > 1 else "optical flow needs two input frames, the model has one"
    except MissingDependencyError as missing:
        problem = str(missing)
    if problem:
        console.warn(f"without optical flow and spectra: {problem}")
    return tuple(source for source in sources if source != "optical_flow" or not problem)


def evaluate_nowcast(
    run: Path,
    shards_folder: Path | None,
    split: str,
    every_minutes: int,
    members: int = MEMBERS,
    ablation: bool = False,
    minutes: int | None = None,
) -> Findings:
    """Score a run on its own shards or on others; parameters as of `evaluate`."""
    predictor = Predictor.load(run)
    folder = shards_folder or _own_folder(predictor, run)
    evaluation = evaluate(
        predictor,
        folder,
        split,
        every_minutes,
        members=members,
        ablation=ablation,
        minutes=minutes,
    )
    scores = evaluation.to_json()
    draw = partial(save_evaluation_figures, scores, evaluation.example, worst=evaluation.worst)
    return Findings(screen_tables(scores), scores, draw)


def _own_folder(predictor: Predictor, run: Path) -> Path:
    only = predictor.config.data.only_folder("choose with --shards: scores are those of")
    return Path(only) if only else run / "shards"


def _forecasters(models: Mapping[str, NowcastModel], wet_threshold: float) -> dict[str, Forecaster]:
    return {source: _forecaster(model) for source, model in models.items()} | {
        "persistence": persistence,
        "optical_flow": partial(optical_flow, wet_threshold=wet_threshold),
    }


def _forecaster(model: NowcastModel) -> Forecaster:
    return lambda frames, leads: model.forecast(frames)


def _ensembles(predictor: NowcastModel, evaluation: Evaluation) -> dict[str, Forecaster]:
    if not isinstance(predictor, EnsembleModel) or not evaluation.ensembles:
        return {}
    setting, count = evaluation.setting, evaluation.ensembles["model"].members
    return {
        "model": lambda frames, leads: draw_members(predictor, frames, count),
        "steps": partial(
            steps_ensemble,
            members=count,
            spacing=setting.spacing,
            step_seconds=predictor.step_seconds,
            wet_threshold=setting.thresholds[0],
        ),
    }


def _nothing_yet(
    predictor: NowcastModel,
    manifest: Manifest,
    split: str,
    sources: Sequence[str],
    members: int,
) -> Evaluation:
    quantity = QUANTITIES[manifest.quantity]
    step_minutes = manifest.step_seconds / 60.0
    setting = Setting(
        quantity.name,
        quantity.units,
        tuple(map(float, quantity.thresholds)),
        tuple(step_minutes * (lead + 1) for lead in range(predictor.frames_out)),
        float(manifest.grid.spacing),
        (int(manifest.grid.shape[0]), int(manifest.grid.shape[1])),
        quantity.wet_threshold if quantity.name == "rain_rate" else None,
    )
    pysteps = "optical_flow" in sources
    drawn = ["model"] if isinstance(predictor, EnsembleModel) and members else []
    # pySTEPS makes its ensemble of three frames of rain.
    if drawn and pysteps and predictor.frames_in > 2 and quantity.name == "rain_rate":
        drawn.append("steps")
    return Evaluation.zero(setting, split, sources, pysteps, drawn, members)


def _check_fit(predictor: NowcastModel, manifest: Manifest, folder: Path, split: str) -> None:
    if split not in SPLITS:
        raise ConfigError(f"--split {split}: choose from {', '.join(SPLITS)}")
    ours = (predictor.quantity, predictor.step_seconds)
    theirs = (manifest.quantity, manifest.step_seconds)
    if ours[0] != theirs[0] or ours[1] % theirs[1]:
        raise InputError(
            folder,
            f"holds {theirs[0]} every {theirs[1]} s, but the model was trained on {ours[0]} every "
            f"{ours[1]} s",
            "Give shards of the same quantity with --shards, whose time step divides the model's",
        )


def _no_starts(
    folder: Path, split: str, every_minutes: int, windows: int, predictor: NowcastModel
) -> InputError:
    if windows:
        return InputError(
            folder,
            f"none of the {windows} windows of the {split} split starts at a multiple of "
            f"{every_minutes} minutes",
            f"Give --every {max(1, predictor.step_seconds // 60)} to take them all",
        )
    return InputError(
        folder,
        f"the {split} split has no {predictor.frames_in + predictor.frames_out} frames in a row, "
        f"{predictor.frames_in} in and {predictor.frames_out} to compare with",
        "Choose another --split, or build the shards with a larger share for it",
    )
