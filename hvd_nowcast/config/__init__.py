"""One YAML file in, one checked tree of frozen sections out.

Each part of the program takes its own section; only the command line sees the whole. Sections
check themselves when they are made, so nothing heavy starts from a wrong value.
"""

from hvd_nowcast.config.flood import (
    BranchesSection,
    FloodConfig,
    FloodDataSection,
    FloodModelSection,
    HydrologySection,
)
from hvd_nowcast.config.nowcast import (
    DataSection,
    LossSection,
    ModelSection,
    NowcastConfig,
    SyntheticSection,
)
from hvd_nowcast.config.reading import Config, config_from_dict, load_config
from hvd_nowcast.config.sections import BalanceSection, OptimiserSection, TrainingSection

__all__ = [
    "BalanceSection",
    "BranchesSection",
    "Config",
    "DataSection",
    "FloodConfig",
    "FloodDataSection",
    "FloodModelSection",
    "HydrologySection",
    "LossSection",
    "ModelSection",
    "NowcastConfig",
    "OptimiserSection",
    "SyntheticSection",
    "TrainingSection",
    "config_from_dict",
    "load_config",
]
