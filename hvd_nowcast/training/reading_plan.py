"""Which shards some ranks read in a whole run: plain numbers, no shard is opened."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hvd_nowcast.config import DataSection, TrainingSection
from hvd_nowcast.loader.assignment import SampleOrder, rank_part, rank_slice
from hvd_nowcast.loader.pipeline import window_weights
from hvd_nowcast.shards.index import WindowIndex, build_index
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.training.nowcast import scaling_frames


def shards_read(
    manifest: Manifest,
    data: DataSection,
    training: TrainingSection,
    shares: Sequence[int],
    ranks: Collection[int],
) -> set[str]:
    """Files that some ranks of a nowcast open from the first step to the last.

    Any rank may draw any window, so in a run of many epochs each reads nearly all training shards,
    with and without ``data.locality``: that limits how many are read in one while. The set is
    small where a run sees less than the archive. The test split is never read.

    Parameters
    ----------
    manifest
        The archive.
    data, training
        Of the run.
    shares
        Samples of each rank in a global batch, the same for the whole run.
    ranks
        Which of them.
    """
    frames = data.frames_in, data.frames_out
    train = build_index(manifest, "train", *frames)
    validation = build_index(manifest, "validation", *frames)
    found: set[str] = set()
    for rank in ranks:
        part = rank_slice(shares, rank)
        found |= _files(train, _training_windows(train, data, training, part))
        limit = training.validation_samples
        found |= _files(validation, rank_part(len(validation), limit, rank, len(shares)))
    if 0 in ranks:
        found |= {file for file, _ in scaling_frames(manifest)}
    return found


def _training_windows(
    index: WindowIndex, data: DataSection, training: TrainingSection, part: slice
) -> set[int]:
    weights = window_weights(index, data.wet_bias)
    order = SampleOrder(weights, training.seed, index.shards(), data.locality)
    windows: set[int] = set()
    for step in range(training.steps):
        windows.update(order.batch(training.global_batch, step)[part].tolist())
        if len(windows) == len(index):
            break
    return windows


def _files(index: WindowIndex, windows: Collection[int]) -> set[str]:
    return {piece.file for window in windows for piece in index.pieces(window)}
