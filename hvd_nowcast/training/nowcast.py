"""The nowcast as the training loop sees it: from a folder of shards to batches and sums."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import tensorflow as tf

from hvd_nowcast.config import NowcastConfig, RegionSection
from hvd_nowcast.errors import ConfigError, ShardError
from hvd_nowcast.loader.archives import Archive, JointReader, open_archives
from hvd_nowcast.loader.assignment import rank_part, spread_evenly
from hvd_nowcast.loader.pipeline import Batch, BatchDecoder, CodeBatches, StoredBatch, WindowReader
from hvd_nowcast.loader.region import RegionReader, regional_manifest
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
from hvd_nowcast.shards.index import JointIndex, build_index
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.schema import QUANTITIES
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.shards.synthetic import synthetic_source
from hvd_nowcast.training.data_facts import store_data_facts
from hvd_nowcast.training.loss import NowcastLoss
from hvd_nowcast.training.run_folder import RunFolder

SCALING_FRAMES = 400
VALIDATION_BATCH = 4
# Of larger frames a batch holds fewer, so that memory does not grow with the largest radar.
VALIDATION_PIXELS = VALIDATION_BATCH * 512 * 512

Periods = tuple[tuple[str, str], ...]


class NowcastTask:
    """The nowcast on archives of shards: its model, its loss, its batches.

    Parameters
    ----------
    config
        The whole configuration.
    archives
        Of `open_archives`.
    scaling
        Fitted on the training split, or read back on a resume.

    Raises
    ------
    ShardError
        When no archive has a window of the wanted length in a split.
    """

    def __init__(
        self, config: NowcastConfig, archives: Sequence[Archive], scaling: Scaling
    ) -> None:
        data, training = config.data, config.training
        self._config, self._archives = config, archives
        self._training = training
        first = archives[0].manifest
        config.require_fits(first.quantity, archives[0].folder)
        self._decode = BatchDecoder(
            first.packing,
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
        rows, columns = (data.crop, data.crop) if data.crop else first.grid.shape
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
            self._read(self._archives)
            return
        self._config.data.only_folder("a region is of")
        (archive,) = self._archives
        reader = RegionReader(archive.frames, region, archive.manifest.packing.fill)
        manifest = regional_manifest(archive.manifest, reader, region)
        self._read([replace(archive, manifest=manifest, frames=reader)], region.periods)

    def _read(self, archives: Sequence[Archive], periods: Periods | None = None) -> None:
        self._seen = archives
        self._frames = archives[0].frames if len(archives) == 1 else JointReader(archives)
        self._train = WindowReader(self._windows("train", periods), self._frames)
        self._validation = self._windows("validation")
        self.windows = len(self._train.index)
        if not self.windows:
            raise ConfigError("region.periods hold no training sample: give longer ones")
        self._batches = [
            CodeBatches(
                self._config.data,
                archive.manifest.packing,
                archive.manifest.grid.shape,
                QUANTITIES[archive.manifest.quantity].wet_threshold,
                size_multiple(self._config.model),
                self._config.model.advection,
                self._config.model.noise,
            )
            for archive in archives
        ]

    def _windows(self, split: str, periods: Periods | None = None) -> JointIndex:
        section = self._config.data
        frames = section.frames_in, section.frames_out
        parts = [build_index(archive.manifest, split, *frames) for archive in self._seen]
        if not any(map(len, parts)):
            raise ShardError(
                self._seen[0].folder,
                f"the {split} split has no sequence of {sum(frames)} frames without a gap"
                + (", and those of the other folders have none" if len(parts) > 1 else ""),
                "Build the shards with another --split, or use fewer frames_in and frames_out",
            )
        return JointIndex([part.within(periods) if periods else part for part in parts])

    @property
    def sizes(self) -> NetworkSizes:
        """What of the network travels between ranks: all of it, in one piece."""
        return NetworkSizes((), 0, int(self.model.count_params()), 0)

    def place(self, communicator: Communicator) -> None:
        """The nowcast has no branches."""

    def initialise(self) -> None:
        """Nothing beyond random weights."""

    def polish(self, started: bool) -> bool:
        """There is nothing to improve without a gradient."""
        return False

    def forward(self, batch: StoredBatch, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Loss sum and valid pixels, see `Task`."""
        decoded = self._decode(batch)
        forecast = self.forecast(decoded, training)
        target, weight = (tf.cast(x, forecast.dtype) for x in (decoded.target, decoded.weight))
        loss_sum = self._loss(forecast, target, weight)
        return loss_sum / self.planned_targets, tf.reduce_sum(weight) / self.planned_targets

    def training_batches(self, part: slice, steps: range) -> Iterator[StoredBatch]:
        """Part of one rank of the global batches of some steps."""
        seed, batch = self._training.seed, self._training.global_batch
        return self._batches[0].training(self._train, seed, batch, part, steps)

    def validation_batches(self, rank: int, ranks: int) -> Iterator[StoredBatch]:
        """Part of one rank of the whole frames of windows spread evenly over the split."""
        limit = self._training.validation_samples
        return self._whole_frames(self._validation, limit, rank, ranks)

    def scored_batches(self, split: str, limit: int) -> Iterator[StoredBatch]:
        """At most so many windows of a split, spread evenly."""
        return self._whole_frames(self._windows(split), limit, 0, 1)

    def _whole_frames(
        self, index: JointIndex, limit: int, rank: int, ranks: int
    ) -> Iterator[StoredBatch]:
        """Batches of one archive after the other, whose frames differ in size."""
        reader = WindowReader(index, self._frames)
        numbers = rank_part(len(index), limit, rank, ranks)
        for archive, windows in itertools.groupby(numbers, index.archive):
            rows, columns = self._seen[archive].manifest.grid.shape
            batch = min(VALIDATION_BATCH, max(1, VALIDATION_PIXELS // (rows * columns)))
            yield from self._batches[archive].evaluation(reader, list(windows), batch)

    def forecast(self, decoded: Batch, training: bool = False) -> tf.Tensor:
        """Scaled forecast of every member, shape (members, b, y, x, frames_out)."""
        forecast = self.model(decoded.seen, training=training)
        return tf.stack(tf.split(forecast, decoded.members))

    def decoded(self, batch: StoredBatch) -> Batch:
        """Scaled frames of what is stored."""
        return self._decode(batch)

    def describe_samples(self, part: slice, step: int) -> str:
        """Files and frames that this rank takes in one step, for a message."""
        seed, batch = self._training.seed, self._training.global_batch
        windows = self._batches[0].windows(self._train, seed, batch, part, step)
        pieces = [piece for window in windows for piece in self._train.index.pieces(window)]
        return ", ".join(f"{p.file} frames {p.start}-{p.stop - 1}" for p in pieces[:4]) + (
            f" and {len(pieces) - 4} more" if len(pieces) > 4 else ""
        )

    def close(self) -> None:
        """Close the shards."""
        for archive in self._archives:
            archive.close()


def shards_folders(config: NowcastConfig, run: RunFolder) -> list[Path]:
    """Folders of the archives; a synthetic one is built into the run folder the first time."""
    if config.data.folders:
        return [Path(folder) for folder in config.data.folders]
    section = config.data.synthetic
    assert section is not None
    if not (run.shards / "manifest.json").exists():
        source = synthetic_source(
            section.frames, shape=(section.height, section.width), seed=section.seed
        )
        build_shards(source, run.shards, parse_split("train=0.7,validation=0.15,test=0.15"))
    return [run.shards]


def open_nowcast(config: NowcastConfig, run: RunFolder) -> NowcastTask:
    """Open the archives of a run, fit or read the scaling, and store what the run depends on.

    Raises
    ------
    ShardError
        When no archive has a window of the wanted length in a split, they do not fit each other,
        or one changed since the start.
    """
    archives = open_archives(shards_folders(config, run))
    task = NowcastTask(config, archives, _scaling(archives, run))
    store_data_facts([archive.manifest for archive in archives], run)
    return task


def scaling_frames(manifest: Manifest, most: int = SCALING_FRAMES) -> list[tuple[str, int]]:
    """Training frames that the scaling is fitted to: file, and number in it."""
    places = [
        (entry.file, frame)
        for entry in manifest.shards
        if entry.split == "train"
        for frame in range(entry.frames)
    ]
    return [places[i] for i in spread_evenly(len(places), most)]


def _scaling(archives: Sequence[Archive], run: RunFolder) -> Scaling:
    if run.has("scaler.json"):
        return scaling_from_dict(run.read_json("scaler.json"))
    most = SCALING_FRAMES // len(archives)
    frames = (
        archive.frames.read_codes(file, frame, frame + 1)
        for archive in archives
        for file, frame in scaling_frames(archive.manifest, most)
    )
    first = archives[0].manifest
    wet = QUANTITIES[first.quantity].wet_threshold
    scaling = fit_scaling(first.quantity, first.packing, wet, frames)
    run.write_json("scaler.json", scaling_to_dict(scaling))
    return scaling
