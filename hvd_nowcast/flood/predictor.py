"""A trained flood run as a function from samples to discharge in m3/s."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hvd_nowcast.config import FloodConfig
from hvd_nowcast.models.flood import FloodNetwork, build_flood
from hvd_nowcast.models.tracing import as_graph
from hvd_nowcast.training.checkpoint import load_weights
from hvd_nowcast.training.flood import FloodData
from hvd_nowcast.training.flood_loss import gaussian_deviation
from hvd_nowcast.training.run_folder import RunFolder

# Quantiles that a normal distribution is reported by.
NORMAL_QUANTILES = {0.05: -1.644854, 0.5: 0.0, 0.95: 1.644854}


class FloodPredictor:
    """The best weights of a flood run, with its watershed.

    Parameters
    ----------
    config
        Configuration of the run.
    data
        The watershed.
    network
        With its weights.
    fingerprint
        SHA-256 of the file of weights.
    """

    def __init__(
        self, config: FloodConfig, data: FloodData, network: FloodNetwork, fingerprint: str
    ) -> None:
        self.fingerprint = fingerprint
        self.config = config
        self.data = data
        self.network = network
        self._forward = as_graph(self._outputs)

    @classmethod
    def load(cls, run_folder: str | Path, shards: Path | None = None) -> FloodPredictor:
        """Read a run folder.

        Raises
        ------
        RunFolderError
            When it is no flood run, or has no weights yet.
        """
        run = RunFolder(run_folder, writable=False)
        config = run.config_of(FloodConfig)
        weights = run.require_weights()
        data = FloodData(config, run, shards)
        network = build_flood(config.model, data.maps, data.sizes)
        facts = load_weights(weights, network.model)
        return cls(config, data, network, facts["sha256"])

    def take_weights(self, path: Path) -> None:
        """Use the weights of another run of the same watershed from now on.

        Raises
        ------
        CheckpointError
            When they are damaged, or of another network.
        """
        load_weights(path, self.network.model)

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Levels of what `predict` gives; the median alone where the model gives one number."""
        model = self.config.model
        normal = tuple(NORMAL_QUANTILES)
        return {"mean": (0.5,), "gaussian": normal, "quantile": model.quantiles}[model.output]

    def predict(self, batch: dict[str, Any]) -> NDArray[np.float64]:
        """Discharge in m3/s of a batch of samples, shape (b, leads, quantiles)."""
        scaled = self._forward(batch).numpy().astype(np.float64)
        gauge = np.asarray(batch["gauge"])[:, None, None]
        return self.data.scaling.inverse(np.sort(scaled, -1), gauge)

    def predict_all(self, batches: Iterator[dict[str, Any]]) -> NDArray[np.float64]:
        """Discharge of all samples of some batches."""
        return np.concatenate([self.predict(batch) for batch in batches])

    def _outputs(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        rain = self.data.decode(batch["rain"], batch["gauge"])
        inputs = {"rain": rain, "gauge": batch["gauge"], "series": batch["series"]}
        outputs = self.network.model(inputs, training=False)
        if not self.network.has_deviation:
            return outputs
        deviation = gaussian_deviation(outputs[..., 1:])
        return outputs[..., :1] + deviation * tf.constant(
            list(NORMAL_QUANTILES.values()), outputs.dtype
        )
