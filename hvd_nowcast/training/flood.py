"""The flood model as the training loop sees it: from a watershed's shards to batches and sums."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hvd_nowcast.config import FloodConfig, RegionSection
from hvd_nowcast.errors import ConfigError, ShardError
from hvd_nowcast.hydrology.contribution import Contribution, travel_time_classes
from hvd_nowcast.hydrology.watershed import Watershed
from hvd_nowcast.loader.assignment import spread_evenly
from hvd_nowcast.loader.flood import (
    FloodSamples,
    FlowScaling,
    RainDecoder,
    RainRecord,
    WatershedSamples,
    fit_flow_scaling,
)
from hvd_nowcast.loader.frame_cache import CACHE_BYTES, FrameCache
from hvd_nowcast.loader.pipeline import WindowReader
from hvd_nowcast.models.flood import LINEAR, ContributionMaps, FloodSizes, build_flood
from hvd_nowcast.parallel.branches import Branches, at_least_one
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.parallel.traffic import NetworkSizes
from hvd_nowcast.shards.index import build_index
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.reader import ReaderPool
from hvd_nowcast.shards.watershed import load_watershed
from hvd_nowcast.training.data_facts import store_data_facts
from hvd_nowcast.training.flood_loss import flood_loss
from hvd_nowcast.training.linear_start import View, fit_linear_path, learnt_view, linear_view
from hvd_nowcast.training.placement import NetworkParts, spread_branches
from hvd_nowcast.training.run_folder import RunFolder
from hvd_nowcast.training.sampled_task import SampledTask

VALIDATION_BATCH = 32
LINEAR_SAMPLES = 20_000
# Heads are timed on so many samples.
PROBED_SAMPLES = 8


class FloodData:
    """A watershed opened for one model: gauges, scaling, contributions, samples of every split.

    Parameters
    ----------
    config
        The whole configuration.
    run
        Where the scaling is kept.
    folder
        Other shards than the configuration's.
    """

    def __init__(self, config: FloodConfig, run: RunFolder, folder: Path | None = None) -> None:
        data = config.data
        self.folder = folder or Path(data.shards)
        self.manifest = Manifest.load(self.folder)
        self.pool = ReaderPool(self.folder)
        self._frames = FrameCache(self.pool, self.manifest, CACHE_BYTES)
        watershed = load_watershed(self.folder, self.manifest)
        if run.has("scaler.json"):
            self.scaling = run.read_as("scaler.json", FlowScaling)
            self.watershed = choose_gauges(watershed, self.scaling.gauges)
        else:
            self.watershed = choose_gauges(watershed, data.gauges)
            self.scaling = self._fit_scaling(data.transform, data.frames_out)
            run.write_json("scaler.json", {"kind": "flow", **asdict(self.scaling)})
        self._config = config
        self._require_same_forcing()
        self.samples = WatershedSamples(
            self.watershed, self.scaling, data.frames_in, data.frames_out
        )
        self.rain = RainRecord(self.manifest, self.pool, self.watershed.times)
        shape = self.manifest.grid.shape
        fields = self.watershed.contributions(config.hydrology, shape)
        self.maps = contribution_maps(fields, self.manifest.step_seconds, config.model.heads)
        errors = np.array(self.scaling.persistence_error)
        self.sizes = FloodSizes(
            data.frames_in, self.samples.series_count, tuple(np.sqrt((errors**2).mean(0)).tolist())
        )
        self.decode = RainDecoder(
            self.manifest.packing,
            self.scaling.rain,
            self.maps.weight,
            data.frames_in,
            data.future_rain,
        )

    def batches(self, split: str, region: RegionSection | None = None) -> FloodSamples:
        """Samples of a split, of one gauge where a region is given.

        Raises
        ------
        ShardError
            When it has none.
        """
        data = self._config.data
        index = build_index(self.manifest, split, data.frames_in, data.frames_out)
        steps = data.frames_in + data.frames_out
        if not len(index):
            raise ShardError(
                self.folder,
                f"the {split} split has no {steps} time steps in a row",
                "Build the shards with another --split, or use fewer frames_in and frames_out",
            )
        if region is not None and region.periods and split == "train":
            index = index.within(region.periods)
        reader = WindowReader(index, self._frames)
        shape = self.manifest.grid.shape
        gauges = None if region is None else [self._gauge_of(region)]
        batches = FloodSamples(self.samples, reader, self.manifest.packing, shape, gauges)
        if not len(batches):
            raise ShardError(
                self.folder,
                f"no gauge has a discharge in the {split} split",
                "Choose other data.gauges, or another --split",
            )
        return batches

    def _gauge_of(self, region: RegionSection) -> int:
        if region.gauge not in self.watershed.gauges:
            raise ConfigError(
                f"region {region.name}: there is no gauge {region.gauge} (region.gauge), the "
                f"watershed has {', '.join(self.watershed.gauges[:10])}"
            )
        return self.watershed.gauges.index(region.gauge)

    def _require_same_forcing(self) -> None:
        inflows, trained = self.watershed.inflow.shape[1], len(self.scaling.forcing_mean) - 1
        if inflows != trained:
            raise ShardError(
                self.folder,
                f"has {inflows} inflows, the model was trained with {trained}",
                "Give the same inflows as in training",
            )

    def _fit_scaling(self, transform: str, leads: int) -> FlowScaling:
        train = times_of(self.manifest, "train", self.watershed.times)
        discharge = self.watershed.discharge[train]
        silent = np.flatnonzero(~np.isfinite(discharge).any(0))
        if silent.size:
            names = ", ".join(self.watershed.gauges[n] for n in silent[:5])
            raise ShardError(
                self.folder,
                f"gauge {names} has no discharge in the training split",
                "Leave it out with data.gauges, or give another --split",
            )
        rain = _root_mean_square_rain(self.manifest, self.pool)
        return fit_flow_scaling(transform, self.watershed, train, leads, rain)


class FloodTask(SampledTask[FloodSamples]):
    """The flood model on a watershed.

    Parameters
    ----------
    config
        The whole configuration.
    run
        Where scaling and facts of the data are kept.
    """

    def __init__(self, config: FloodConfig, run: RunFolder) -> None:
        self._config = config
        self._data = FloodData(config, run)
        store_data_facts([self._data.manifest], run)
        super().__init__(config.training, self._data.batches, config.region, VALIDATION_BATCH)
        self.network = build_flood(config.model, self._data.maps, self._data.sizes)
        self.model = self.network.model
        self._view = linear_view(self.network) if config.model.heads else None
        self._learnt = learnt_view(self.network)
        self._loss_scale = 1.0 / np.array(self._data.scaling.persistence_error, np.float32)
        self.planned_targets = float(config.training.global_batch * config.data.frames_out)

    @property
    def scaling(self) -> FlowScaling:
        """Of the discharge."""
        return self._data.scaling

    @property
    def sizes(self) -> NetworkSizes:
        """What of the network travels between ranks."""
        return self._parts.sizes(self._data.sizes.steps)

    @property
    def _parts(self) -> NetworkParts:
        return NetworkParts(self.model, self.network.heads, self.network.shared)

    def place(self, communicator: Communicator) -> None:
        """Divide the heads over the ranks of a replica by their cost and the ranks' speed."""
        section = self._config.branches
        if section.ranks_per_replica == 1 or communicator.size == 1:
            return
        (batch,) = self.training_batches(slice(0, PROBED_SAMPLES), range(1))
        batch = self.decoded(batch)
        inputs = [[batch["rain"], batch["gauge"]]] * len(self.network.heads)
        self.branches = spread_branches(communicator, section, self._parts, inputs)

    def initialise(self) -> None:
        """Solve the linear path by least squares, so that training starts from its answer."""
        # Where another run's weights are started from, its shares were found after training.
        self.network.lead_share.assign(np.ones(self._data.sizes.steps_out))
        if self._view is not None:
            self._fit_linear_path(self._view)

    def _fit_linear_path(self, view: View) -> None:
        chosen = spread_evenly(len(self._train), LINEAR_SAMPLES).tolist()
        held = spread_evenly(len(self._validation), LINEAR_SAMPLES).tolist()
        fit_linear_path(
            self.network,
            view,
            map(self.decoded, self._train.in_order(chosen, VALIDATION_BATCH)),
            map(self.decoded, self._validation.in_order(held, VALIDATION_BATCH)),
        )

    def polish(self, started: bool) -> bool:
        """Weigh the paths of the network after training, see `Task`.

        Gradient steps serve all lead times and spoil the linear path for the shortest, so it is
        solved once more for what the rest leaves to it: the mean of both is better than either.

        What was learnt then has a share in [0, 1] at each lead time by least squares on the
        validation split (stacking with non-negative weights, Breiman 1996,
        doi:10.1007/BF00117832): at short lead times the linear path may be all there is to know.
        """
        if self._config.model.output != "mean":
            # A share would narrow the distribution that was learnt with the rest.
            return False
        share, leads = self.network.lead_share, self._data.sizes.steps_out
        # A run that started from another was solved anew just before its few steps.
        if self._view is not None and not started:
            path = self.network.tail.get_layer(LINEAR)
            trained = path.get_weights()
            share.assign(np.ones(leads))
            self._fit_linear_path(self._view)
            both = zip(trained, path.get_weights(), strict=True)
            path.set_weights([(one + other) / 2 for one, other in both])
        share.assign(np.zeros(leads))
        products, squares = np.zeros(leads), np.zeros(leads)
        for batch in map(self.decoded, self.validation_batches(0, 1)):
            inputs = {name: batch[name] for name in ("rain", "gauge", "series")}
            learnt, without = (part.numpy()[..., 0] for part in self._learnt(inputs))
            weight = batch["weight"].numpy() * self._loss_scale[batch["gauge"].numpy()] ** 2
            products += (weight * (batch["target"].numpy() - without) * learnt).sum(0)
            squares += (weight * learnt**2).sum(0)
        best = np.divide(products, squares, out=np.ones(leads), where=squares > 0)
        share.assign(np.clip(best, 0.0, 1.0))
        return True

    def forward(self, batch: dict[str, tf.Tensor], training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Loss sum and known targets, see `Task`."""
        batch = self.decoded(batch)
        target, weight = batch["target"], batch["weight"]
        scale = tf.gather(tf.constant(self._loss_scale), batch["gauge"])
        if self.branches is None:
            inputs = {name: batch[name] for name in ("rain", "gauge", "series")}
            forecast = self.model(inputs, training=training)
        else:
            forecast, mine = self._forward_branches(self.branches, batch)
            target, weight, scale = (at_least_one(part[mine]) for part in (target, weight, scale))
        target, weight, scale = (tf.cast(part, forecast.dtype) for part in (target, weight, scale))
        loss = flood_loss(self._config.model, forecast, target, weight, scale)
        return loss / self.planned_targets, tf.reduce_sum(weight) / self.planned_targets

    def _forward_branches(
        self, branches: Branches, batch: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, slice]:
        """Forecast of the samples that this rank carries on, and which they are."""
        inputs = [batch["rain"], batch["gauge"]]
        dtype = self.network.tail.inputs[0].dtype
        heads = self.network.heads
        features = [heads[branch](inputs) for branch in branches.mine]
        rain = tf.cast(batch["rain"], dtype)
        joined = branches.exchange(features, heads[0].output.shape[-1], rain)
        start, stop = branches.my_samples(tf.shape(rain)[0])
        series = batch["series"][start:stop]
        forecast = self.network.tail([at_least_one(joined), at_least_one(series)])
        return forecast, slice(start, stop)

    def close(self) -> None:
        """Close the shards."""
        self._data.pool.close()

    def decoded(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The batch with rain in place of its codes."""
        return {**batch, "rain": self._data.decode(batch["rain"], batch["gauge"])}


def choose_gauges(watershed: Watershed, names: tuple[str, ...] | None) -> Watershed:
    """The watershed with some of its gauges.

    Raises
    ------
    ConfigError
        When it has no gauge of a name.
    """
    if names is None:
        return watershed
    unknown = [name for name in names if name not in watershed.gauges]
    if unknown:
        raise ConfigError(
            f"there is no gauge {unknown[0]} (data.gauges), the watershed has "
            f"{', '.join(watershed.gauges[:10])}"
        )
    chosen = [watershed.gauges.index(name) for name in names]
    return replace(
        watershed,
        gauges=names,
        gauge_node=watershed.gauge_node[chosen],
        discharge=watershed.discharge[:, chosen],
    )


def contribution_maps(
    fields: list[Contribution], step_seconds: int, heads: int
) -> ContributionMaps:
    """Contributions as the network wants them: delays in time steps, classes by head."""
    return ContributionMaps(
        np.stack([field.weight for field in fields]),
        np.stack([field.delay for field in fields]) * 3600.0 / step_seconds,
        np.stack([travel_time_classes(field, max(1, heads)) for field in fields]),
    )


def times_of(manifest: Manifest, split: str, times: NDArray[np.datetime64]) -> NDArray[np.bool_]:
    """Which times of the series of a watershed lie in a split, shape (t,)."""
    inside = np.zeros(len(times), bool)
    for entry in manifest.shards:
        for segment in entry.segments if entry.split == split else ():
            start = np.datetime64(segment.first_time, "s")
            length = np.timedelta64(segment.frames * manifest.step_seconds, "s")
            inside |= (times >= start) & (times < start + length)
    return inside


def _root_mean_square_rain(manifest: Manifest, pool: ReaderPool) -> float:
    table = manifest.packing.table().astype(np.float64)
    counts = np.zeros(len(table))
    for entry in manifest.shards:
        if entry.split == "train":
            for start in range(0, entry.frames, 64):
                codes = pool.read_codes(entry.file, start, min(entry.frames, start + 64))
                counts += np.bincount(codes.ravel(), minlength=len(table))
    wet = np.flatnonzero((np.nan_to_num(table) > 0) & (counts > 0))
    return float(np.sqrt(np.average(table[wet] ** 2, weights=counts[wet]))) if wet.size else 1.0
