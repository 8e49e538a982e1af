"""The land-cover model as the training loop sees it: from a scene to batches and sums."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hvd_nowcast.config import LandcoverConfig, RegionSection
from hvd_nowcast.errors import ConfigError, ShardError
from hvd_nowcast.loader.landcover import BandScaling, LabelledPatches, fit_band_scaling
from hvd_nowcast.models.landcover import build_landcover
from hvd_nowcast.parallel.branches import Branches, at_least_one
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.parallel.traffic import NetworkSizes
from hvd_nowcast.shards.scene import SceneReader, class_counts
from hvd_nowcast.shards.split import SPLITS
from hvd_nowcast.training.data_facts import keep_data_facts
from hvd_nowcast.training.placement import NetworkParts, spread_branches
from hvd_nowcast.training.run_folder import RunFolder
from hvd_nowcast.training.sampled_task import SampledTask

VALIDATION_BATCH = 64
PROBED_SAMPLES = 8
POWERS = {"none": 0.0, "square-root": 0.5, "balanced": 1.0}


class LandcoverTask(SampledTask[LabelledPatches]):
    """The land-cover model on a scene.

    Parameters
    ----------
    config
        The whole configuration.
    run
        Where scaling and facts of the data are kept.
    """

    def __init__(self, config: LandcoverConfig, run: RunFolder) -> None:
        self._config = config
        self._reader = SceneReader(config.data.shards)
        manifest = self._reader.manifest
        self._scaling = stored_scaling(config, run, self._reader)
        store_scene_facts(run, self._reader)
        super().__init__(config.training, self._labelled, config.region, VALIDATION_BATCH)
        self.network = build_landcover(config.model, self._scaling.bands, len(manifest.classes))
        self.model = self.network.model
        self.planned_targets = float(config.training.global_batch * config.data.patch**2)
        counts = class_counts(
            np.where(self._reader.split == 1, self._reader.labels, 0), len(manifest.classes)
        )
        self._class_weights = class_weights(counts, config.loss.class_weight)

    def _labelled(self, split: str, region: RegionSection | None) -> LabelledPatches:
        data, reader = self._config.data, self._reader
        patches = LabelledPatches(
            reader,
            self._scaling,
            SPLITS.index(split) + 1,
            data.patch,
            self._config.model.margin,
            data.modality_dropout,
            data.flips,
            region,
        )
        if not len(patches):
            where = f" in region {region.name}" if region else ""
            raise ShardError(
                reader.path,
                f"no pixel of the {split} split is labelled{where}",
                "Build the shards with another --split",
            )
        return patches

    @property
    def sizes(self) -> NetworkSizes:
        """What of the network travels between ranks."""
        return self._parts.sizes(self._config.data.patch**2)

    @property
    def _parts(self) -> NetworkParts:
        return NetworkParts(self.network.model, self.network.branches)

    def place(self, communicator: Communicator) -> None:
        """Divide the modalities over the ranks of a replica by their cost and the ranks' speed."""
        section = self._config.branches
        if section.ranks_per_replica == 1 or communicator.size == 1:
            return
        (batch,) = self.training_batches(slice(0, PROBED_SAMPLES), range(1))
        inputs = [[batch[name] for name in names] for names in self.network.inputs]
        self.branches = spread_branches(communicator, section, self._parts, inputs)
        mine = [name for branch in self.branches.mine for name in self.network.inputs[branch]]
        for patches in (self._train, self._validation):
            patches.read_only(mine)

    def initialise(self) -> None:
        """Random weights are as good as any."""

    def polish(self, started: bool) -> bool:
        """There is nothing to improve without a gradient."""
        return False

    def forward(self, batch: dict[str, tf.Tensor], training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Loss sum and known targets, see `Task`."""
        labels = tf.cast(batch["label"], tf.int32)
        if self.branches is None:
            inputs = {name: batch[name] for names in self.network.inputs for name in names}
            scores = self.model(inputs, training=training)
        else:
            scores, mine = self._forward_branches(self.branches, batch)
            labels = at_least_one(labels[mine])
        weight = tf.gather(tf.constant(self._class_weights), labels)
        # Reduced precision is for the layers; sums of logarithms are not for it.
        scores = scores if scores.dtype == tf.float64 else tf.cast(scores, tf.float32)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels - 1, 0), scores)
        weight = tf.cast(weight, loss.dtype)
        sums = tf.reduce_sum(loss * weight), tf.reduce_sum(weight)
        return sums[0] / self.planned_targets, sums[1] / self.planned_targets

    def _forward_branches(
        self, branches: Branches, batch: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, slice]:
        """Scores of the samples that this rank carries on, and which they are."""
        network, side = self.network, self._config.data.patch
        width = network.branches[0].output.shape[-1]
        dtype = network.tail.inputs[0].dtype
        samples = tf.shape(batch["label"])[0]
        features = []
        for branch in branches.mine:
            found = network.branches[branch]([batch[name] for name in network.inputs[branch]])
            features.append(tf.reshape(found, (samples, side * side, width)))
        like = tf.zeros((samples, side * side), dtype)
        joined = branches.exchange(features, width, like)
        start, stop = branches.my_samples(samples)
        total = width * len(network.branches)
        scores = network.tail(at_least_one(tf.reshape(joined, (-1, side, side, total))))
        return scores, slice(start, stop)

    def close(self) -> None:
        """Close the scene."""
        self._reader.close()


def class_weights(counts: NDArray[np.int64], kind: str) -> NDArray[np.float32]:
    """Weight of a pixel by its class number, 0 for no label, shape (classes + 1,).

    A class of mean size weighs 1.

    Parameters
    ----------
    counts
        Training pixels of each class.
    kind
        As in the configuration.
    """
    mean = counts.sum() / max(1, int((counts > 0).sum()))
    weights = np.where(counts > 0, (mean / np.maximum(counts, 1)) ** POWERS[kind], 0.0)
    return np.concatenate([[0.0], weights]).astype(np.float32)


def stored_scaling(config: LandcoverConfig, run: RunFolder, reader: SceneReader) -> BandScaling:
    """The scaling of a run, fitted when it has none yet.

    Raises
    ------
    ConfigError
        When the scene lacks a modality of the configuration.
    """
    there = reader.manifest.modalities
    wanted = config.data.modalities or tuple(there)
    unknown = [name for name in wanted if name not in there]
    if unknown:
        raise ConfigError(
            f"data.modalities: there is no {unknown[0]}, the scene has {', '.join(there)}"
        )
    if run.has("scaler.json"):
        return run.read_as("scaler.json", BandScaling)
    scaling = fit_band_scaling(reader, wanted)
    run.write_json("scaler.json", {"kind": "bands", **asdict(scaling)})
    return scaling


def store_scene_facts(run: RunFolder, reader: SceneReader) -> None:
    """Write ``data.json``, or compare with it on a resume.

    Raises
    ------
    ShardError
        When the scene changed since the start of the run.
    """
    manifest = reader.manifest
    facts: dict[str, Any] = {
        "modalities": dict(manifest.modalities),
        "classes": list(manifest.classes),
        "grid_shape": list(manifest.shape),
        "grid_spacing": manifest.spacing,
        "shards": {manifest.scene.file: manifest.scene.sha256},
    }
    keep_data_facts(facts, run)
