"""Which task a configuration is of."""

from __future__ import annotations

from hvd_nowcast.config import Config, FloodConfig, LandcoverConfig
from hvd_nowcast.training.run_folder import RunFolder
from hvd_nowcast.training.task import Task


def open_task(config: Config, run: RunFolder) -> Task:
    """Open the data and build the model of a run."""
    if isinstance(config, FloodConfig):
        from hvd_nowcast.training.flood import FloodTask

        return FloodTask(config, run)
    if isinstance(config, LandcoverConfig):
        from hvd_nowcast.training.landcover import LandcoverTask

        return LandcoverTask(config, run)
    from hvd_nowcast.training.nowcast import open_nowcast

    return open_nowcast(config, run)
