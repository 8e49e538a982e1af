"""One YAML file in, one checked tree of frozen sections out.

Each part of the program takes its own section; only the command line sees the whole. Sections
check themselves when they are made, so nothing heavy starts from a wrong value.
"""

from hvd_nowcast.config.flood import (
    FloodConfig,
    FloodDataSection,
    FloodModelSection,
    HydrologySection,
)
from hvd_nowcast.config.landcover import (
    LandcoverConfig,
    LandcoverDataSection,
    LandcoverLossSection,
    LandcoverModelSection,
)
from hvd_nowcast.config.nowcast import (
    DataSection,
    LossSection,
    ModelSection,
    NowcastConfig,
    SyntheticSection,
)
from hvd_nowcast.config.reading import (
    Config,
    config_from_dict,
    load_config,
    load_regions_config,
)
from hvd_nowcast.config.region import RegionSection, StartSection
from hvd_nowcast.config.regions import (
    CutSection,
    RegionsConfig,
    SimilaritySection,
    TransferSection,
)
from hvd_nowcast.config.sections import (
    BalanceSection,
    BranchesSection,
    OptimiserSection,
    TrainingSection,
)

__all__ = [
    "BalanceSection",
    "BranchesSection",
    "Config",
    "CutSection",
    "DataSection",
    "FloodConfig",
    "FloodDataSection",
    "FloodModelSection",
    "HydrologySection",
    "LandcoverConfig",
    "LandcoverDataSection",
    "LandcoverLossSection",
    "LandcoverModelSection",
    "LossSection",
    "ModelSection",
    "NowcastConfig",
    "OptimiserSection",
    "RegionSection",
    "RegionsConfig",
    "SimilaritySection",
    "StartSection",
    "SyntheticSection",
    "TrainingSection",
    "TransferSection",
    "config_from_dict",
    "load_config",
    "load_regions_config",
]
