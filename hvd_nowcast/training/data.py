"""From a folder of shards to datasets: the archive as the training loop sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from hvd_nowcast.config import Config, TrainingSection
from hvd_nowcast.errors import ShardError
from hvd_nowcast.loader.assignment import equal_shares, rank_slice, spread_evenly
from hvd_nowcast.loader.pipeline import BatchDecoder, CodeBatches, WindowReader
from hvd_nowcast.loader.scaling import (
    Scaling,
    fit_scaling,
    scaling_from_dict,
    scaling_to_dict,
)
from hvd_nowcast.models.nowcast import size_multiple
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.index import build_index
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.reader import ReaderPool
from hvd_nowcast.shards.schema import QUANTITIES
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.shards.synthetic import synthetic_source
from hvd_nowcast.training.run_folder import RunFolder

SCALING_FRAMES = 400


@dataclass
class TrainingData:
    """Everything the loop reads from.

    Attributes
    ----------
    manifest
        The archive.
    scaling
        Fitted on the training split, or read back on a resume.
    train, validation
        Windows of the two splits.
    batches
        Turns windows into datasets of codes.
    decoder
        Turns codes into batches, inside the step.
    pool
        Open shards, to be closed at the end.
    """

    manifest: Manifest
    scaling: Scaling
    train: WindowReader
    validation: WindowReader
    batches: CodeBatches
    decoder: BatchDecoder
    pool: ReaderPool

    def validation_batches(
        self, limit: int, batch: int, rank: int, ranks: int
    ) -> Iterator[tf.Tensor]:
        """Part of one rank of the whole frames of windows spread evenly over the split."""
        windows = spread_evenly(len(self.validation.index), limit)
        part = rank_slice(equal_shares(len(windows), ranks), rank)
        return self.batches.iterate(
            self.batches.evaluation(self.validation, windows[part].tolist(), batch)
        )

    def training_batches(
        self, section: TrainingSection, part: slice, steps: range
    ) -> Iterator[tf.Tensor]:
        """Part of one rank of the global batches of some steps."""
        return self.batches.iterate(
            self.batches.training(self.train, section.seed, section.global_batch, part, steps)
        )

    def describe_samples(self, section: TrainingSection, part: slice, step: int) -> str:
        """Files and frames that this rank takes in one step, for a message."""
        windows = self.batches.windows(self.train, section.seed, section.global_batch, part, step)
        pieces = [piece for window in windows for piece in self.train.index.pieces(window)]
        return ", ".join(f"{p.file} frames {p.start}-{p.stop - 1}" for p in pieces[:4]) + (
            f" and {len(pieces) - 4} more" if len(pieces) > 4 else ""
        )


def shards_folder(config: Config, run: RunFolder) -> Path:
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


def open_training_data(config: Config, run: RunFolder) -> TrainingData:
    """Open the archive of a run, fit or read the scaling, and store what the run depends on.

    Raises
    ------
    ShardError
        When a split has no window of the wanted length, or the archive changed since the start.
    """
    folder = shards_folder(config, run)
    manifest = Manifest.load(folder)
    section = config.data
    pool = ReaderPool(folder)
    readers = {}
    for split in ("train", "validation"):
        index = build_index(manifest, split, section.frames_in, section.frames_out)
        if not len(index):
            raise ShardError(
                folder,
                f"the {split} split has no sequence of {section.frames_in + section.frames_out} "
                "frames without a gap",
                "Build the shards with another --split, or use fewer frames_in and frames_out",
            )
        readers[split] = WindowReader(index, pool)
    scaling = _scaling(manifest, pool, run)
    _store_data_facts(manifest, run)
    wet_threshold = QUANTITIES[manifest.quantity].wet_threshold
    multiple = size_multiple(config.model)
    packing = manifest.packing
    return TrainingData(
        manifest,
        scaling,
        readers["train"],
        readers["validation"],
        CodeBatches(section, packing, manifest.grid.shape, wet_threshold, multiple),
        BatchDecoder(packing, scaling, section.frames_in, section.frames_out),
        pool,
    )


def _scaling(manifest: Manifest, pool: ReaderPool, run: RunFolder) -> Scaling:
    if run.has("scaler.json"):
        return scaling_from_dict(run.read_json("scaler.json"))
    places = [
        (entry.file, frame)
        for entry in manifest.shards
        if entry.split == "train"
        for frame in range(entry.frames)
    ]
    chosen = [places[i] for i in spread_evenly(len(places), SCALING_FRAMES)]
    frames = (pool.read_codes(file, frame, frame + 1) for file, frame in chosen)
    wet = QUANTITIES[manifest.quantity].wet_threshold
    scaling = fit_scaling(manifest.quantity, manifest.packing, wet, frames)
    run.write_json("scaler.json", scaling_to_dict(scaling))
    return scaling


def _store_data_facts(manifest: Manifest, run: RunFolder) -> None:
    facts: dict[str, Any] = {
        "quantity": manifest.quantity,
        "step_seconds": manifest.step_seconds,
        "grid_digest": manifest.grid.digest,
        "grid_shape": list(manifest.grid.shape),
        "grid_spacing": manifest.grid.spacing,
        "shards": {entry.file: entry.sha256 for entry in manifest.shards},
    }
    if run.has("data.json"):
        before = run.read_json("data.json")
        if before["shards"] != facts["shards"]:
            raise ShardError(
                run.path / "data.json",
                "the shards are not those the run was started with",
                "Put the old shards back, or start a new --run folder",
            )
    else:
        run.write_json("data.json", facts)
