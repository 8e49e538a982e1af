"""The nowcast as the training loop sees it: from a folder of shards to batches and sums."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from hvd_nowcast.config import NowcastConfig, RegionSection
from hvd_nowcast.errors import ConfigError, ShardError
from hvd_nowcast.loader.assignment import rank_part, spread_evenly
from hvd_nowcast.loader.pipeline import Batch, BatchDecoder, CodeBatches, WindowReader
from hvd_nowcast.loader.region import CodeReader, RegionReader, regional_manifest
from hvd_nowcast.loader.scaling import (
    Scaling,
    fit_scaling,
    scaling_from_dict,
    scaling_to_dict,
)
from hvd_nowcast.models.nowcast import build_nowcast, size_multiple
from hvd_nowcast.parallel.communicator import Communicator
from hvd_nowcast.parallel.traffic import NetworkSizes
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.index import WindowIndex, build_index
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.reader import ReaderPool
from hvd_nowcast.shards.schema import QUANTITIES
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.shards.synthetic import synthetic_source
from hvd_nowcast.training.data_facts import store_data_facts
from hvd_nowcast.training.loss import NowcastLoss
from hvd_nowcast.training.run_folder import RunFolder

SCALING_FRAMES = 400
VALIDATION_BATCH = 4

Periods = tuple[tuple[str, str], ...]


class NowcastTask:
    """The nowcast on an archive of shards: its model, its loss, its batches.

    Parameters
    ----------
    config
        The whole configuration.
    folder
        The archive.
    manifest
        What it holds.
    scaling
        Fitted on the training split, or read back on a resume.
    pool
        Open shards.

    Raises
    ------
    ShardError
        When a split has no window of the wanted length.
    """

    def __init__(
        self,
        config: NowcastConfig,
        folder: Path,
        manifest: Manifest,
        scaling: Scaling,
        pool: ReaderPool,
    ) -> None:
        data, training = config.data, config.training
        self._config, self._folder, self._manifest, self._pool = config, folder, manifest, pool
        self._training = training
        self._decode = BatchDecoder(
            manifest.packing,
            scaling,
            data.frames_in,
            data.frames_out,
            config.model.advection,
            config.model.noise,
        )
        self._loss = NowcastLoss(config.loss, scaling)
        self.scaling = scaling
        self.model = build_nowcast(config.model, data.frames_in, data.frames_out)
        self.branches = None
        # Of the whole archive also where a region is taken: one step then serves all regions.
        rows, columns = (data.crop, data.crop) if data.crop else manifest.grid.shape
        self.planned_targets = float(training.global_batch * data.frames_out * rows * columns)
        self.turn_to(config.region)

    def turn_to(self, region: RegionSection | None) -> None:
        """Take samples from a region alone, or from everywhere, see `Task`.

        Raises
        ------
        ConfigError
            When the region is none of a grid.
        """
        if region is None:
            self._read(self._manifest, self._pool)
            return
        reader = RegionReader(self._pool, region, self._manifest.packing.fill)
        self._read(regional_manifest(self._manifest, reader, region), reader, region.periods)

    def _read(self, manifest: Manifest, frames: CodeReader, periods: Periods | None = None) -> None:
        self._seen, self._frames = manifest, frames
        train = self._windows("train")
        self._train = WindowReader(train.within(periods) if periods else train, frames)
        self._validation = WindowReader(self._windows("validation"), frames)
        self.windows = len(self._train.index)
        if not self.windows:
            raise ConfigError("region.periods hold no training sample: give longer ones")
        wet_threshold = QUANTITIES[manifest.quantity].wet_threshold
        self._batches = CodeBatches(
            self._config.data,
            manifest.packing,
            manifest.grid.shape,
            wet_threshold,
            size_multiple(self._config.model),
            self._config.model.advection,
            self._config.model.noise,
        )

    def _windows(self, split: str) -> WindowIndex:
        section = self._config.data
        index = build_index(self._seen, split, section.frames_in, section.frames_out)
        if not len(index):
            raise ShardError(
                self._folder,
                f"the {split} split has no sequence of {section.frames_in + section.frames_out} "
                "frames without a gap",
                "Build the shards with another --split, or use fewer frames_in and frames_out",
            )
        return index

    @property
    def sizes(self) -> NetworkSizes:
        """What of the network travels between ranks: all of it, in one piece."""
        return NetworkSizes((), 0, int(self.model.count_params()), 0)

    def place(self, communicator: Communicator) -> None:
        """The nowcast has no branches."""

    def initialise(self) -> None:
        """Nothing beyond random weights."""

    def polish(self) -> bool:
        """There is nothing to improve without a gradient."""
        return False

    def forward(self, batch: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Loss sum and valid pixels of stored codes (b, t, y, x), see `Task`."""
        decoded = self._decode(batch)
        forecast = self.forecast(decoded, training)
        target, weight = (tf.cast(x, forecast.dtype) for x in (decoded.target, decoded.weight))
        loss_sum = self._loss(forecast, target, weight)
        return loss_sum / self.planned_targets, tf.reduce_sum(weight) / self.planned_targets

    def training_batches(self, part: slice, steps: range) -> Iterator[tf.Tensor]:
        """Part of one rank of the global batches of some steps."""
        seed, batch = self._training.seed, self._training.global_batch
        return self._batches.training(self._train, seed, batch, part, steps)

    def validation_batches(self, rank: int, ranks: int) -> Iterator[tf.Tensor]:
        """Part of one rank of the whole frames of windows spread evenly over the split."""
        limit = self._training.validation_samples
        windows = rank_part(len(self._validation.index), limit, rank, ranks)
        return self._batches.evaluation(self._validation, windows, VALIDATION_BATCH)

    def scored_batches(self, split: str, limit: int) -> Iterator[tf.Tensor]:
        """At most so many windows of a split, spread evenly, as stored codes (b, t, y, x)."""
        windows = WindowReader(self._windows(split), self._frames)
        numbers = rank_part(len(windows.index), limit, 0, 1)
        return self._batches.evaluation(windows, numbers, VALIDATION_BATCH)

    def forecast(self, decoded: Batch, training: bool = False) -> tf.Tensor:
        """Scaled forecast of every member, shape (members, b, y, x, frames_out)."""
        forecast = self.model(decoded.seen, training=training)
        return tf.stack(tf.split(forecast, decoded.members))

    def decoded(self, batch: tf.Tensor) -> Batch:
        """Scaled frames of stored codes."""
        return self._decode(batch)

    def describe_samples(self, part: slice, step: int) -> str:
        """Files and frames that this rank takes in one step, for a message."""
        seed, batch = self._training.seed, self._training.global_batch
        windows = self._batches.windows(self._train, seed, batch, part, step)
        pieces = [piece for window in windows for piece in self._train.index.pieces(window)]
        return ", ".join(f"{p.file} frames {p.start}-{p.stop - 1}" for p in pieces[:4]) + (
            f" and {len(pieces) - 4} more" if len(pieces) > 4 else ""
        )

    def close(self) -> None:
        """Close the shards."""
        self._pool.close()


def shards_folder(config: NowcastConfig, run: RunFolder) -> Path:
    """Folder of the archive; a synthetic one is built into the run folder the first time."""
    if config.data.shards is not None:
        return Path(config.data.shards)
    section = config.data.synthetic
    assert section is not None
    if not (run.shards / "manifest.json").exists():
        source = synthetic_source(
            section.frames, shape=(section.height, section.width), seed=section.seed
        )
        build_shards(source, run.shards, parse_split("train=0.7,validation=0.15,test=0.15"))
    return run.shards


def open_nowcast(config: NowcastConfig, run: RunFolder) -> NowcastTask:
    """Open the archive of a run, fit or read the scaling, and store what the run depends on.

    Raises
    ------
    ShardError
        When a split has no window of the wanted length, or the archive changed since the start.
    """
    folder = shards_folder(config, run)
    manifest = Manifest.load(folder)
    pool = ReaderPool(folder)
    task = NowcastTask(config, folder, manifest, _scaling(manifest, pool, run), pool)
    store_data_facts(manifest, run)
    return task


def scaling_frames(manifest: Manifest) -> list[tuple[str, int]]:
    """Training frames that the scaling is fitted to: file, and number in it."""
    places = [
        (entry.file, frame)
        for entry in manifest.shards
        if entry.split == "train"
        for frame in range(entry.frames)
    ]
    return [places[i] for i in spread_evenly(len(places), SCALING_FRAMES)]


def _scaling(manifest: Manifest, pool: ReaderPool, run: RunFolder) -> Scaling:
    if run.has("scaler.json"):
        return scaling_from_dict(run.read_json("scaler.json"))
    chosen = scaling_frames(manifest)
    frames = (pool.read_codes(file, frame, frame + 1) for file, frame in chosen)
    wet = QUANTITIES[manifest.quantity].wet_threshold
    scaling = fit_scaling(manifest.quantity, manifest.packing, wet, frames)
    run.write_json("scaler.json", scaling_to_dict(scaling))
    return scaling
