from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hvd_nowcast.config import (
    NowcastConfig,
    config_from_dict,
    load_config,
    load_regions_config,
)
from hvd_nowcast.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))
REGIONS = [path for path in CONFIGS if path.name.startswith("regions_")]


@pytest.mark.parametrize("path", REGIONS, ids=lambda path: path.name)
def test_every_shipped_configuration_of_regions_is_valid(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    regions = load_regions_config(path)
    assert load_config(regions.base, regions.overrides).task in ("nowcast", "flood", "landcover")
    with pytest.raises(ConfigError, match="hvd-nowcast regions"):
        load_config(path)


@pytest.mark.parametrize("path", sorted({*CONFIGS} - {*REGIONS}), ids=lambda path: path.name)
def test_every_shipped_configuration_is_valid_and_round_trips(path: Path) -> None:
    config = load_config(path)
    again = config_from_dict(yaml.safe_load(yaml.safe_dump(config.to_dict())), "again")
    assert again == config


def test_overrides_reach_nested_sections() -> None:
    config = load_config(
        REPOSITORY / "configs/tiny.yaml",
        ["training.steps=7", "data.synthetic.frames=99", "optimiser.learning_rate=1e-4"],
    )
    assert isinstance(config, NowcastConfig)
    assert (config.training.steps, config.data.synthetic.frames) == (7, 99)  # type: ignore[union-attr]
    assert config.optimiser.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.stepz=7", "stepz"),
        ("training.steps=0", "training.steps must be at least 1"),
        ("training.steps=many", "training.steps"),
        ("training.patience=0", "training.patience"),
        ("data.crop=33", "multiple of 4"),
        ("data.crop=4", "at least 8"),
        ("data.shards=folder", "not both"),
        ("data.wet_bias=-1", "wet_bias"),
        ("data.zoom=0.9", "zoom must be at least 1"),
        ("data.zoom=4.1", "squares of at least 8 pixels"),
        ("data.intensity=0", "intensity must be at least 1"),
        ("model.stem=3", "1, 2 or 4"),
        ("model.normalisation=batch", "none, group, layer"),
        ("model.filters=[0]", "positive"),
        ("loss.error=huber", "mse, mae"),
        ("loss.exceedance=-1", "negative"),
        ("optimiser.learning_rate=fast", "expected a number"),
        ("optimiser.decay=step", "cosine, plateau, none"),
        ("optimiser.clip_norm=0", "clip_norm"),
        ("data", "section.key=value"),
        ("data.crop.side=3", "not a section"),
        ("data.crop=[", "--set data.crop"),
    ],
)
def test_wrong_values_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(REPOSITORY / "configs/tiny.yaml", [override])
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("content", ["", "- a\n", "data: [\n", "\xff"])
def test_unreadable_files_are_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load_config(path)
    with pytest.raises(ConfigError, match="absent"):
        load_config(tmp_path / "absent.yaml")
