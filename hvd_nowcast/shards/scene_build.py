"""From a scene in memory to a folder of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hvd_nowcast.errors import InputError
from hvd_nowcast.shards.output_folder import output_folder
from hvd_nowcast.shards.scene import Scene, SceneManifest, write_scene
from hvd_nowcast.shards.scene_split import split_by_place
from hvd_nowcast.shards.split import SplitRule


def build_scene(scene: Scene, out: str | Path, rule: SplitRule) -> SceneManifest:
    """Divide the labelled pixels of a scene by place and write it.

    Parameters
    ----------
    scene
        With labels.
    out
        A new or empty folder, or one of a build that was killed.
    rule
        Shares of the splits.

    Raises
    ------
    InputError
        When no pixel of the image is labelled.
    OutputError
        When the folder is taken or cannot be written.
    """
    folder = Path(out)
    # A label outside the image can be neither learnt nor verified.
    seen = np.any([np.isfinite(bands).any(0) for bands in scene.modalities.values()], 0)
    labels = np.where(seen, scene.labels, 0).astype(np.uint8)
    if not labels.any():
        raise InputError(
            folder, "no pixel of the image is labelled", "Classes count from 1, 0 is no label"
        )
    split = split_by_place(labels, rule)
    with output_folder(folder):
        return write_scene(folder, scene, split)
