"""Keras' own ``fit`` on many ranks through our wrapper, and why Horovod's is not used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parallel.conftest import run_ranks


def fit(folder: Path, kind: str, ranks: int) -> list[tuple[list[Any], dict[str, list[float]]]]:
    folder.mkdir()
    run_ranks(ranks, "keras_fit.py", kind, folder)
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(ranks)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], dict[str, list[float]]]:
    return fit(tmp_path_factory.mktemp("fit") / "alone", "ours", 1)[0]


@pytest.mark.parametrize("ranks", [2, 3])
def test_fit_on_uneven_ranks_is_fit_in_one_process(
    alone: tuple[list[Any], dict[str, list[float]]], tmp_path: Path, ranks: int
) -> None:
    for weights, history in fit(tmp_path / "ranks", "ours", ranks):
        for expected, found in zip(alone[0], weights, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-9)
        assert set(history) == {"loss", "mae", "val_loss", "val_mae", "rate"}
        for name, values in alone[1].items():
            assert history[name] == pytest.approx(values, rel=1e-5)
        assert history["rate"] == pytest.approx([0.1])


def test_horovods_own_optimiser_does_not_average(tmp_path: Path) -> None:
    first, second = (np.array(w[0]) for w, _ in fit(tmp_path / "ranks", "horovod", 2))
    assert np.abs(first - second).max() > 1e-3
