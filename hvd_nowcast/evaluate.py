"""Score a run of any task, keep the scores and draw them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hvd_nowcast import console
from hvd_nowcast.config import FloodConfig, LandcoverConfig
from hvd_nowcast.errors import ConfigError, MissingDependencyError, OutputError
from hvd_nowcast.pretrained import results_folder
from hvd_nowcast.shards.writer import atomic_output
from hvd_nowcast.training.run_folder import RunFolder
from hvd_nowcast.verification.ensemble import MEMBERS
from hvd_nowcast.verification.findings import Findings


def evaluate_run(
    run_folder: str | Path,
    shards_folder: Path | None = None,
    split: str = "test",
    every_minutes: int = 60,
    json_file: Path | None = None,
    figures: Path | None = None,
    members: int = MEMBERS,
    ablation: bool = False,
    minutes: int | None = None,
) -> Iterator[str]:
    """Evaluate a run: scores into ``RUN/scores.json``, figures into ``RUN/figures``.

    Parameters
    ----------
    run_folder
        The trained run.
    shards_folder
        Another archive than the one of the run.
    split
        ``train``, ``validation`` or ``test``.
    every_minutes
        Of a nowcast: a forecast starts at each multiple of this in the day.
    json_file
        Written as well.
    figures
        Another folder for the figures.
    members
        Of a nowcast that makes ensembles: their size.
    ablation
        Of a nowcast: whether to score it without parts of its input as well.
    minutes
        Of a nowcast: lead time of the last frame, when not as trained.

    Yields
    ------
    str
        Lines for the screen: the score table, and where the files are.

    Raises
    ------
    ConfigError
        When what belongs to nowcasts is asked of another task.
    """
    run = Path(run_folder)
    findings = _find(run, shards_folder, split, every_minutes, members, ablation, minutes)
    yield findings.table
    home = results_folder(run)
    for path in dict.fromkeys(path for path in (home / "scores.json", json_file) if path):
        write_scores(findings.scores, path)
        yield f"scores: {path}"
    try:
        for path in findings.draw(figures or home / "figures"):
            yield f"figure: {path}"
    except MissingDependencyError as problem:
        console.warn(f"without figures: {problem}")


def write_scores(scores: dict[str, Any], path: Path) -> None:
    """Write the scores of an evaluation as JSON, at once or not at all.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(f"{path.parent}: cannot make this folder ({problem})") from problem
    with atomic_output(path) as aside:
        aside.write_text(json.dumps(scores, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _find(
    run: Path,
    shards_folder: Path | None,
    split: str,
    every_minutes: int,
    members: int,
    ablation: bool,
    minutes: int | None,
) -> Findings:
    config = RunFolder(run, writable=False).config()
    if isinstance(config, (FloodConfig, LandcoverConfig)):
        for option, given in {"--ablation": ablation, "--minutes": minutes}.items():
            if given:
                raise ConfigError(
                    f"{option}: of nowcasts only, this is a run of the task {config.task}"
                )
    if isinstance(config, FloodConfig):
        from hvd_nowcast.flood.evaluate import evaluate_flood

        return evaluate_flood(run, shards_folder, split)
    if isinstance(config, LandcoverConfig):
        from hvd_nowcast.landcover.evaluate import evaluate_landcover

        return evaluate_landcover(run, shards_folder, split)
    from hvd_nowcast.nowcast.evaluate import evaluate_nowcast

    return evaluate_nowcast(run, shards_folder, split, every_minutes, members, ablation, minutes)
