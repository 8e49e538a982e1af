"""``watershed.nc``: the file beside the rain shards that holds network, gauges and series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from numpy.typing import NDArray

from hvd_nowcast.errors import ShardError
from hvd_nowcast.hydrology.contribution import Units
from hvd_nowcast.hydrology.network import FlowNetwork
from hvd_nowcast.hydrology.watershed import Watershed
from hvd_nowcast.shards.manifest import Manifest, verify_bytes
from hvd_nowcast.shards.writer import PLAIN, atomic_output, netcdf_output, write_times

WATERSHED = "watershed.nc"
BUILD = "Build the watershed again with: hvd-nowcast shards build --format watershed"

# Variable: dimensions, type, units, description.
_LAYOUT: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "downstream": (("node",), "i8", "1", "next node, itself at an outlet, -1 outside"),
    "length": (("node",), "f8", "m", "way to the next node"),
    "slope": (("node",), "f8", "1", "slope of that way"),
    "node_area": (("node",), "f8", "km2", "own area of the node"),
    "unit_node": (("unit",), "i8", "1", "node that a piece of land drains to"),
    "unit_row": (("unit",), "i8", "1", "row of its pixel in the rain grid"),
    "unit_column": (("unit",), "i8", "1", "column of its pixel in the rain grid"),
    "unit_area": (("unit",), "f8", "km2", "its area"),
    "gauge_node": (("gauge",), "i8", "1", "node of the gauge"),
    "discharge": (("time", "gauge"), "f4", "m3 s-1", "discharge, NaN where missing"),
    "inflow": (("time", "inflow_point"), "f4", "m3 s-1", "flow that enters the network"),
    "inflow_node": (("inflow_point",), "i8", "1", "node where it enters"),
}


def write_watershed(path: Path, watershed: Watershed) -> None:
    """Write the file, at once or not at all."""
    columns = _columns(watershed)
    with atomic_output(path) as aside, netcdf_output(aside) as dataset:
        write_times(dataset, watershed.times)
        dataset.createDimension("gauge", len(watershed.gauges))
        names = dataset.createVariable("gauge_name", str, ("gauge",))
        names[:] = np.array(watershed.gauges, object)
        for name, (dimensions, dtype, units, text) in _LAYOUT.items():
            values = columns[name]
            for dimension, size in zip(dimensions, values.shape, strict=True):
                if dimension not in dataset.dimensions:
                    dataset.createDimension(dimension, size)
            variable = dataset.createVariable(name, dtype, dimensions, **PLAIN)
            variable.setncatts({"units": units, "long_name": text})
            variable[:] = values
        if watershed.pet.size:
            variable = dataset.createVariable("pet", "f4", ("time",), **PLAIN)
            variable.setncatts({"units": "mm", "long_name": "potential evapotranspiration"})
            variable[:] = watershed.pet


def load_watershed(folder: str | Path, manifest: Manifest) -> Watershed:
    """Read the watershed of a folder of shards.

    Raises
    ------
    ShardError
        When the folder holds none, or it is not byte for byte what was built.
    """
    path = Path(folder) / WATERSHED
    entry = next((entry for entry in manifest.companions if entry.file == WATERSHED), None)
    if entry is None:
        raise ShardError(path, "these shards hold rain alone, without gauges", BUILD)
    verify_bytes(folder, entry)
    try:
        with netCDF4.Dataset(path) as dataset:
            dataset.set_auto_mask(False)
            return _read(dataset)
    except (OSError, RuntimeError, KeyError, IndexError, ValueError) as problem:
        raise ShardError(path, f"not a readable watershed ({problem})", BUILD) from problem


def _columns(watershed: Watershed) -> dict[str, NDArray[Any]]:
    network, units = watershed.network, watershed.units
    return {
        "downstream": network.downstream,
        "length": network.length,
        "slope": network.slope,
        "node_area": network.area,
        "unit_node": units.node,
        "unit_row": units.row,
        "unit_column": units.column,
        "unit_area": units.area,
        "gauge_node": watershed.gauge_node,
        "discharge": watershed.discharge,
        "inflow": watershed.inflow,
        "inflow_node": watershed.inflow_node,
    }


def _read(dataset: netCDF4.Dataset) -> Watershed:
    value = {name: np.asarray(dataset[name][:]) for name in _LAYOUT}
    seconds = np.asarray(dataset["time"][:]).astype(np.int64)
    pet = np.asarray(dataset["pet"][:]) if "pet" in dataset.variables else np.zeros(0)
    return Watershed(
        FlowNetwork(value["downstream"], value["length"], value["slope"], value["node_area"]),
        Units(value["unit_node"], value["unit_row"], value["unit_column"], value["unit_area"]),
        tuple(str(name) for name in dataset["gauge_name"][:]),
        value["gauge_node"],
        np.datetime64(0, "s") + seconds.astype("timedelta64[s]"),
        value["discharge"].astype(np.float32),
        value["inflow"].astype(np.float32),
        value["inflow_node"],
        pet.astype(np.float32),
    )
