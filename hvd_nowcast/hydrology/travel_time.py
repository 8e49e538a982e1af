"""How long water takes to the outlet: a velocity field from slope and area, and its sum."""

from __future__ import annotations

import numpy as np

from hvd_nowcast.config import HydrologySection
from hvd_nowcast.hydrology.network import OUTSIDE, Floats, FlowNetwork

SECONDS_PER_HOUR = 3600.0
LEAST_SLOPE = 1e-4


def velocity(network: FlowNetwork, section: HydrologySection) -> Floats:
    """Velocity of the flow at each node in m/s.

    ``v = v_mean s^b A^c / mean(s^b A^c)``, between two limits (Maidment et al. 1996,
    doi:10.1002/(SICI)1099-1085(199606)10:6<831::AID-HYP374>3.0.CO;2-N), with s the slope and A the
    upstream area.
    """
    inside = network.downstream != OUTSIDE
    slope = np.maximum(network.slope, LEAST_SLOPE)
    shape = slope**section.slope_exponent * network.upstream_area**section.area_exponent
    scaled = section.mean_velocity * shape / shape[inside].mean()
    return np.clip(scaled, section.least_velocity, section.largest_velocity)


def travel_hours(network: FlowNetwork, section: HydrologySection) -> Floats:
    """Hours from each node to its outlet, 0 at the outlet."""
    seconds = network.length / velocity(network, section)
    outlet = network.downstream == np.arange(len(network.downstream))
    return network.along_path(np.where(outlet, 0.0, seconds)) / SECONDS_PER_HOUR
