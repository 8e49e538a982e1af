"""A folder of many models: what was planned, and what came of it.

::

    REGIONS/config.yaml     configuration of the regions, with that of one model
    REGIONS/plan.json       regions, what the data tell of them, clusters, models to be trained
    REGIONS/domain/         scaling and facts of the data that all models share
    REGIONS/models/SCHEME/REGION/               a run each, as of hvd-nowcast train
    REGIONS/models/SCHEME/REGION/outcome.json   how long it took and how good it is
    REGIONS/failures.json   models that failed, and why
    REGIONS/farm.json       ranks, what each job took, and the least time there could be
    REGIONS/figures/        clusters on a map and as a tree; schemes beside each other
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dacite
import numpy as np
import yaml

from hvd_nowcast.config import (
    Config,
    RegionsConfig,
    RegionSection,
    config_from_dict,
)
from hvd_nowcast.config.reading import SETTINGS
from hvd_nowcast.errors import RunFolderError
from hvd_nowcast.regions.similarity import Clusters, Description
from hvd_nowcast.regions.transfer import Grouping, PlannedModel
from hvd_nowcast.shards.writer import atomic_output
from hvd_nowcast.training.run_folder import RunFolder

PLAN, OUTCOME, FAILURES, FARM = "plan.json", "outcome.json", "failures.json", "farm.json"
RESUME = "Continue it with --resume, or choose another --run folder"


@dataclass(frozen=True)
class Plan:
    """What is to be done, known before the first step.

    Attributes
    ----------
    regions, descriptions
        All regions, with and without a problem.
    numbers
        Those that models are trained for; the clusters count among them.
    grouping
        Who may learn from whom.
    models
        To be trained.
    schemes
        That are compared or, when there is one, used.
    serving
        The one whose models forecast.
    seconds, processor_seconds
        What cutting, describing and clustering took.
    """

    regions: tuple[RegionSection, ...]
    descriptions: tuple[Description, ...]
    numbers: tuple[int, ...]
    grouping: Grouping
    models: tuple[PlannedModel, ...]
    schemes: tuple[str, ...]
    serving: str
    seconds: float
    processor_seconds: float

    @property
    def usable(self) -> list[RegionSection]:
        """Regions that models are trained for."""
        return [self.regions[number] for number in self.numbers]

    def by_name(self) -> dict[str, PlannedModel]:
        """Models by their names."""
        return {model.name: model for model in self.models}


@dataclass(frozen=True)
class ModelOutcome:
    """What came of one model.

    Attributes
    ----------
    seconds, processor_seconds
        From its start to its best weights on disk.
    steps, best_step, best_loss
        Updates made, how many of them until the best validation loss, and that loss.
    skill, loss, counts
        On the test split, see `RegionScore`.
    fingerprint
        Of the best weights.
    rank
        Where it was trained.
    bench_seconds, bench_processor_seconds
        What building and tracing the network took, where this model was the first of its rank.
    """

    seconds: float
    processor_seconds: float
    steps: int
    best_step: int
    best_loss: float
    skill: float | None
    loss: float
    counts: tuple[float, ...]
    fingerprint: str
    rank: int
    bench_seconds: float = 0.0
    bench_processor_seconds: float = 0.0


class RegionsFolder:
    """Paths and small files of a folder of many models.

    Parameters
    ----------
    path
        The folder; it need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.models = self.path / "models"
        self.figures = self.path / "figures"

    @staticmethod
    def is_one(path: str | Path) -> bool:
        """Whether a folder holds many models and not a single run."""
        return (Path(path) / PLAN).is_file()

    def start(self, config: RegionsConfig, base: Config, resume: bool) -> None:
        """Claim a new folder, or check that a used one is of the same configuration.

        Raises
        ------
        RunFolderError
            When it is in use, or of another configuration.
        """
        content = {"regions": _plain(asdict(config)), "base": base.to_dict()}
        file = self.path / "config.yaml"
        if file.is_file():
            if not resume:
                raise RunFolderError(f"{self.path}: already in use. {RESUME}")
            if self.config() != (config, base):
                raise RunFolderError(
                    f"{self.path}: --resume needs the configuration it was started with; see "
                    f"{file}, or start a new --run folder"
                )
            return
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunFolderError(f"{self.path}: holds something else. Choose another --run folder")
        self.path.mkdir(parents=True, exist_ok=True)
        with atomic_output(file) as aside:
            aside.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

    def config(self) -> tuple[RegionsConfig, Config]:
        """Configuration of the regions, and of one model.

        Raises
        ------
        RunFolderError
            When the folder holds none.
        """
        file = self.path / "config.yaml"
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
            regions = dacite.from_dict(RegionsConfig, content["regions"], SETTINGS)
            return regions, config_from_dict(content["base"], str(file))
        except (OSError, KeyError, TypeError, yaml.YAMLError, dacite.DaciteError) as problem:
            raise RunFolderError(
                f"{file}: not the folder of many models ({problem}). Make one with: hvd-nowcast "
                "regions fit CONFIG --run DIR"
            ) from problem

    @property
    def domain(self) -> RunFolder:
        """What all models share."""
        return RunFolder(self.path / "domain", writable=False)

    def prepare_domain(self, base: Config) -> RunFolder:
        """A folder to put it into."""
        domain = RunFolder(self.path / "domain")
        if not domain.has("config.yaml"):
            domain.start(base)
        return domain

    def run(self, name: str) -> RunFolder:
        """The run of one model."""
        return RunFolder(self.models / name)

    def save_plan(self, plan: Plan) -> None:
        """Write ``plan.json``."""
        self.write_json(PLAN, _plain(asdict(plan)))

    def plan(self) -> Plan:
        """Read ``plan.json``.

        Raises
        ------
        RunFolderError
            When there is none, or it is damaged.
        """
        tree = self.read_json(PLAN)
        try:
            tree["descriptions"] = [_description(d) for d in tree["descriptions"]]
            grouping = tree["grouping"]
            periods = {
                int(number): tuple(tuple(period) for period in found)
                for number, found in grouping["periods"].items()
            }
            tree["grouping"] = Grouping(
                _clusters(grouping["similar"]), _clusters(grouping["nearest"]), periods
            )
            return dacite.from_dict(Plan, tree, dacite.Config(cast=[tuple], check_types=False))
        except (dacite.DaciteError, LookupError, TypeError, ValueError) as problem:
            raise RunFolderError(
                f"{self.path / PLAN}: not of this version of the program ({problem})"
            ) from problem

    def outcome(self, name: str) -> ModelOutcome | None:
        """What came of a model; None before its end."""
        run = self.run(name)
        return run.read_as(OUTCOME, ModelOutcome) if run.has(OUTCOME) else None

    def outcomes(self, plan: Plan) -> dict[str, ModelOutcome]:
        """What came of all models that are finished."""
        found = {model.name: self.outcome(model.name) for model in plan.models}
        return {name: outcome for name, outcome in found.items() if outcome is not None}

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a small JSON file at once or not at all."""
        RunFolder(self.path).write_json(name, dict(content))

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a small JSON file.

        Raises
        ------
        RunFolderError
            When it is missing or damaged.
        """
        return RunFolder(self.path).read_json(name)


def _clusters(tree: Mapping[str, Any]) -> Clusters:
    return Clusters(np.array(tree["label"], np.int64), np.array(tree["source"], np.int64))


def _description(tree: Mapping[str, Any]) -> Description:
    features = {k: np.nan if v is None else float(v) for k, v in tree["features"].items()}
    regime = np.array(tree["regime"], np.float64)
    regime = regime.reshape(len(tree["block_starts"]), -1) if regime.size else np.zeros((0, 0))
    row, column = tree["position"]
    starts = tuple(tree["block_starts"])
    return Description((row, column), features, regime, starts, tree["problem"])


def _plain(value: Any) -> Any:
    """What JSON and YAML can hold; a number that is none becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
