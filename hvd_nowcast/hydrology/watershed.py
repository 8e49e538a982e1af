"""A watershed: its flow network, its gauges, and what was measured there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.config import HydrologySection
from hvd_nowcast.hydrology.contribution import Contribution, Units, contribution
from hvd_nowcast.hydrology.network import FlowNetwork, Integers
from hvd_nowcast.hydrology.travel_time import travel_hours

Floats32 = NDArray[np.float32]


@dataclass(frozen=True)
class Watershed:
    """All but the rain, which lies in shards of frames.

    Attributes
    ----------
    network, units
        Where water goes, and which pixel drains to which node.
    gauges, gauge_node
        Name and node of each gauge.
    times
        Of the series, ``datetime64[s]``, shape (t,); the same as the rain's.
    discharge
        m3/s, NaN where missing, shape (t, gauges).
    inflow, inflow_node
        Measured flow in m3/s that enters the network at some nodes, shape (t, inflows).
    pet
        Potential evapotranspiration in mm per step, shape (t,); empty when not known.
    """

    network: FlowNetwork
    units: Units
    gauges: tuple[str, ...]
    gauge_node: Integers
    times: NDArray[np.datetime64]
    discharge: Floats32
    inflow: Floats32
    inflow_node: Integers
    pet: Floats32

    def contributions(
        self, section: HydrologySection, shape: tuple[int, int]
    ) -> list[Contribution]:
        """What each gauge sees of the rain grid.

        Parameters
        ----------
        section
            Velocities.
        shape
            Rows and columns of the rain grid.
        """
        hours = travel_hours(self.network, section)
        return [
            contribution(self.network, self.units, hours, int(node), shape)
            for node in self.gauge_node
        ]
