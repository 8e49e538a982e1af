"""A trained land-cover run as a function from a scene to a map of classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hvd_nowcast import console
from hvd_nowcast.config import LandcoverConfig
from hvd_nowcast.loader.landcover import BandScaling
from hvd_nowcast.models.landcover import LandcoverNetwork, build_landcover
from hvd_nowcast.models.tracing import as_graph
from hvd_nowcast.shards.scene import Bands, squares
from hvd_nowcast.training.checkpoint import load_weights
from hvd_nowcast.training.run_folder import RunFolder

# A scene is mapped in squares of this side, all of one shape, so that one graph serves them all.
TILE = 128


class Windows(Protocol):
    """A scene that gives squares of its modalities."""

    def window(self, modality: str, row: int, column: int, side: int) -> Bands:
        """A square of one modality, NaN outside the scene, shape (side, side, band)."""


@dataclass(frozen=True)
class ClassMap:
    """A map of classes.

    Attributes
    ----------
    classes
        Class number of each pixel from 1, 0 where nothing is known, shape (y, x).
    probability
        Of that class, NaN where nothing is known, shape (y, x).
    """

    classes: NDArray[np.uint8]
    probability: NDArray[np.float32]

    def place(self, part: ClassMap, row: int, column: int) -> None:
        """Fill in a part; what of it lies beyond the map is left out."""
        for ours, theirs in (
            (self.classes, part.classes),
            (self.probability, part.probability),
        ):
            rows, columns = theirs.shape
            inside = ours[row : row + rows, column : column + columns]
            inside[:] = theirs[: inside.shape[0], : inside.shape[1]]


def nothing_known(shape: tuple[int, int]) -> ClassMap:
    """A map of classes (y, x) to be filled in."""
    return ClassMap(np.zeros(shape, np.uint8), np.full(shape, np.nan, np.float32))


class LandcoverPredictor:
    """The best weights of a land-cover run.

    Parameters
    ----------
    config
        Configuration of the run.
    classes
        Names of the classes.
    scaling
        Of the bands.
    network
        With its weights.
    fingerprint
        SHA-256 of the file of weights.
    """

    def __init__(
        self,
        config: LandcoverConfig,
        classes: tuple[str, ...],
        scaling: BandScaling,
        network: LandcoverNetwork,
        fingerprint: str,
    ) -> None:
        self.config = config
        self.classes = classes
        self.scaling = scaling
        self.fingerprint = fingerprint
        self._network = network
        self._forward = as_graph(self._probabilities)

    @classmethod
    def load(cls, run_folder: str | Path) -> LandcoverPredictor:
        """Read a run folder.

        Raises
        ------
        RunFolderError
            When it is no land-cover run, or has no weights yet.
        """
        run = RunFolder(run_folder, writable=False)
        config = run.config_of(LandcoverConfig)
        weights = run.require_weights()
        scaling = run.read_as("scaler.json", BandScaling)
        classes = tuple(run.read_json("data.json")["classes"])
        network = build_landcover(config.model, scaling.bands, len(classes))
        facts = load_weights(weights, network.model)
        return cls(config, classes, scaling, network, facts["sha256"])

    def take_weights(self, path: Path) -> None:
        """Use the weights of another run of the same configuration and scaling from now on.

        Raises
        ------
        CheckpointError
            When they are damaged, or of another network.
        """
        load_weights(path, self._network.model)

    def map(self, scene: Windows, shape: tuple[int, int], hidden: Iterable[str] = ()) -> ClassMap:
        """Map a whole scene.

        Parameters
        ----------
        scene
            Gives the squares.
        shape
            Rows and columns.
        hidden
            Modalities that are left out, as if they were missing.
        """
        places = squares(shape, TILE)
        watched = console.progress(places, "mapping", len(places), "tile")
        return self._joined(scene, watched, (0, 0), shape, hidden)

    def map_part(
        self,
        scene: Windows,
        corner: tuple[int, int],
        shape: tuple[int, int],
        hidden: Iterable[str] = (),
    ) -> ClassMap:
        """Map a part of a scene, to the same bytes as `map` does.

        Parameters
        ----------
        scene, hidden
            See `map`.
        corner
            First row and column, multiples of `TILE`: a square at another place would be computed
            in another order.
        shape
            Rows and columns of the part.
        """
        places = [(row + corner[0], column + corner[1]) for row, column in squares(shape, TILE)]
        return self._joined(scene, places, corner, shape, hidden)

    def _joined(
        self,
        scene: Windows,
        places: Iterable[tuple[int, int]],
        corner: tuple[int, int],
        shape: tuple[int, int],
        hidden: Iterable[str],
    ) -> ClassMap:
        whole = nothing_known(shape)
        for row, column in places:
            whole.place(self.tile(scene, row, column, hidden), row - corner[0], column - corner[1])
        return whole

    def tile(self, scene: Windows, row: int, column: int, hidden: Iterable[str] = ()) -> ClassMap:
        """Map one square of side `TILE`; the same pixels give the same classes in any order."""
        return chosen_classes(*self.probabilities(scene, row, column, hidden))

    def probabilities(
        self, scene: Windows, row: int, column: int, hidden: Iterable[str] = ()
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Probability of each class in one square, and where anything is known of it.

        Returns
        -------
        probability, known
            Shapes (TILE, TILE, classes) and (TILE, TILE).
        """
        margin = self.config.model.margin
        side = TILE + 2 * margin
        batch, known = {}, np.zeros((TILE, TILE), bool)
        inside = slice(margin, margin + TILE)
        for name in self.scaling.bands:
            if name in hidden:
                values = np.full((side, side, self.scaling.bands[name]), np.nan, np.float32)
            else:
                values = scene.window(name, row - margin, column - margin, side)
            known |= np.isfinite(values[inside, inside]).any(-1)
            batch[name] = self.scaling.inputs(name, values)[None]
        return self._forward(batch).numpy()[0], known

    def _probabilities(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        scores = self._network.model(batch, training=False)
        return tf.nn.softmax(tf.cast(scores, tf.float32))


def chosen_classes(probability: NDArray[np.float32], known: NDArray[np.bool_]) -> ClassMap:
    """The most probable class of each pixel.

    Parameters
    ----------
    probability
        Shape (y, x, classes).
    known
        Where there is anything to tell it from, shape (y, x).
    """
    classes = np.where(known, probability.argmax(-1) + 1, 0).astype(np.uint8)
    return ClassMap(classes, np.where(known, probability.max(-1), np.nan).astype(np.float32))
