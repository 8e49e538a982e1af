"""From a YAML file to a checked configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dacite
import yaml

from hvd_nowcast.config.checks import choice
from hvd_nowcast.config.flood import FloodConfig
from hvd_nowcast.config.landcover import LandcoverConfig
from hvd_nowcast.config.nowcast import NowcastConfig
from hvd_nowcast.config.regions import RegionsConfig
from hvd_nowcast.errors import ConfigError

Config = NowcastConfig | FloodConfig | LandcoverConfig
TASKS: dict[str, type[Config]] = {
    "nowcast": NowcastConfig,
    "flood": FloodConfig,
    "landcover": LandcoverConfig,
}


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file and apply ``section.key=value`` overrides.

    Raises
    ------
    ConfigError
        When the file cannot be read, a key is not known, or a value has the wrong type or range.
    """
    tree = _read_yaml(Path(path))
    for override in overrides:
        _apply_override(tree, override)
    return config_from_dict(tree, str(path))


def config_from_dict(tree: Mapping[str, Any], source: str) -> Config:
    """Check a plain tree and turn it into a `Config`.

    Parameters
    ----------
    tree
        Sections as dictionaries.
    source
        Where it came from, for messages.
    """
    if "base" in tree:
        raise ConfigError(f"{source}: is of many regions. Use it with: hvd-nowcast regions fit")
    try:
        task = tree.get("task", "nowcast")
        choice("task", task, list(TASKS))
        return dacite.from_dict(TASKS[task], dict(tree), SETTINGS)
    except (dacite.DaciteError, TypeError, ConfigError) as problem:
        raise ConfigError(f"{source}: {problem}") from problem


def load_regions_config(path: str | Path, overrides: Sequence[str] = ()) -> RegionsConfig:
    """Read the configuration of many models over space.

    Raises
    ------
    ConfigError
        As `load_config`.
    """
    tree = _read_yaml(Path(path))
    for override in overrides:
        _apply_override(tree, override)
    try:
        return dacite.from_dict(RegionsConfig, tree, SETTINGS)
    except (dacite.DaciteError, TypeError, ConfigError) as problem:
        raise ConfigError(f"{path}: {problem}") from problem


def _number(value: Any) -> float:
    # YAML reads 1e-3 as text (it wants 1.0e-3); people write 1e-3.
    if isinstance(value, str | int) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError as problem:
            raise ConfigError(f"expected a number, got {value!r}") from problem
    if isinstance(value, float):
        return value
    raise ConfigError(f"expected a number, got {value!r}")


SETTINGS = dacite.Config(strict=True, cast=[tuple], type_hooks={float: _number})


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise ConfigError(f"{path}: not a readable YAML file: {problem}") from problem
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected sections such as 'data:' and 'model:'")
    return tree


def _apply_override(tree: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    keys = name.strip().split(".")
    if not separator or not all(keys):
        raise ConfigError(f"--set {override}: expected section.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise ConfigError(f"--set {override}: {problem}") from problem
    for key in keys[:-1]:
        section = tree.setdefault(key, {})
        if not isinstance(section, dict):
            raise ConfigError(f"--set {override}: {key} is a value, not a section")
        tree = section
    tree[keys[-1]] = value
