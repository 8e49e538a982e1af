"""The pixel contribution: how much, and how late, rain on each pixel reaches a gauge.

The field that Sarkar et al. (2023, arXiv:2301.11787) put before their convolutions; its formula is
not public. Ours is the classical one of a distributed unit hydrograph: the weight of a pixel is the
share of the gauge's upstream area that lies in it, its delay is the travel time to the gauge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.hydrology.network import Floats, FlowNetwork, Integers


@dataclass(frozen=True)
class Units:
    """Pieces of land with an area, a node they drain to and a pixel they lie in.

    The cells of a grid, or hydrologic response units. All arrays have the shape ``(units,)``.

    Attributes
    ----------
    node
        Node of the flow network; -1 drains nowhere.
    row, column
        Pixel of the rain grid.
    area
        km2.
    """

    node: Integers
    row: Integers
    column: Integers
    area: Floats


@dataclass(frozen=True)
class Contribution:
    """What a gauge sees of the rain grid.

    Attributes
    ----------
    weight
        Share of the gauge's upstream area that lies in each pixel, adding up to 1, shape (y, x).
    delay
        Hours from each pixel to the gauge, 0 where the weight is 0, shape (y, x).
    area
        Upstream area in km2.
    """

    weight: NDArray[np.float32]
    delay: NDArray[np.float32]
    area: float


def contribution(
    network: FlowNetwork, units: Units, hours: Floats, node: int, shape: tuple[int, int]
) -> Contribution:
    """Contribution of every pixel to the flow through one node.

    Parameters
    ----------
    network, units
        Where water goes.
    hours
        Travel time from each node to its outlet, see `travel_hours`.
    node
        Node of the gauge.
    shape
        Rows and columns of the rain grid.

    Raises
    ------
    ValueError
        When nothing drains through the node.
    """
    upstream = network.drains_through(node)
    mine = (units.node >= 0) & upstream[np.clip(units.node, 0, None)]
    if not mine.any():
        raise ValueError(f"no land drains through node {node}")
    pixel = units.row[mine] * shape[1] + units.column[mine]
    area = units.area[mine]
    delay = hours[units.node[mine]] - hours[node]
    size = shape[0] * shape[1]
    total = np.bincount(pixel, area, size)
    late = np.bincount(pixel, area * delay, size)
    mean = np.divide(late, total, out=np.zeros(size), where=total > 0)
    return Contribution(
        (total / total.sum()).reshape(shape).astype(np.float32),
        mean.reshape(shape).astype(np.float32),
        float(area.sum()),
    )


def travel_time_classes(field: Contribution, classes: int) -> NDArray[np.float32]:
    """Membership of each pixel in classes of travel time that contribute alike.

    The pixels in the order of their delay are cut into classes of equal weight. A pixel on the
    border of two belongs to both in part, so that a small change of a delay is a small change.

    Parameters
    ----------
    field
        Contribution of the pixels.
    classes
        How many.

    Returns
    -------
    numpy.ndarray
        Adds up to 1 over the classes where the weight is positive, else to 0, shape
        (y, x, classes).
    """
    weight, delay = field.weight.ravel().astype(np.float64), field.delay.ravel()
    order = np.lexsort((np.arange(len(delay)), np.where(weight > 0, delay, np.inf)))
    end = np.cumsum(weight[order]) * classes
    start = end - weight[order] * classes
    membership = np.zeros((len(weight), classes))
    for number in range(classes):
        inside = np.minimum(end, number + 1) - np.maximum(start, number)
        membership[order, number] = np.maximum(inside, 0.0)
    total = membership.sum(1, keepdims=True)
    shares = np.divide(membership, total, out=np.zeros_like(membership), where=total > 0)
    return shares.reshape(*field.weight.shape, classes).astype(np.float32)
