"""One network under every placement, by the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from hvd_nowcast.shards.convert.scene import open_scene
from hvd_nowcast.shards.scene_build import build_scene
from hvd_nowcast.shards.split import parse_split
from tests.parallel.conftest import run_ranks
from tests.unit.made_scene import write_scene_file


def test_every_placement_trains_the_same_network(tmp_path: Path) -> None:
    split = parse_split("train=0.6,validation=0.2,test=0.2")
    build_scene(open_scene([write_scene_file(tmp_path / "scene.nc")]), tmp_path / "shards", split)
    tree = {
        "task": "landcover",
        "data": {"shards": str(tmp_path / "shards"), "patch": 3},
        "model": {"filters": [4], "features": 3, "head": 5, "precision": "float64"},
        "training": {"global_batch": 8, "validation_samples": 20},
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(tree))
    arguments = ("compare-parallel", config, "--run", tmp_path / "runs", "--steps", 10)
    output = run_ranks(2, "command.py", *arguments)
    assert "kB sent per step" in output
    data, *spread = json.loads((tmp_path / "runs/comparison.json").read_text())["placements"]
    assert [one["placement"] for one in (data, *spread)] == ["data", "branch", "layer"]
    assert len({one["sent_bytes"] for one in (data, *spread)}) == 3
    assert all(0 < share <= 1 for one in (data, *spread) for share in one["busy"])
    assert all(memory > 1e8 for one in (data, *spread) for memory in one["memory"])
    for one in spread:
        assert one["validation_loss"] == pytest.approx(data["validation_loss"], rel=1e-9)
        require_same_weights(tmp_path / "runs/data", tmp_path / "runs" / one["placement"])


def require_same_weights(one: Path, other: Path) -> None:
    with np.load(one / "weights/best.npz") as first, np.load(other / "weights/best.npz") as second:
        names = [name for name in first.files if first[name].dtype.kind == "f"]
        assert names
        for name in names:
            np.testing.assert_allclose(first[name], second[name], rtol=1e-8, atol=1e-10)


def test_one_rank_has_nothing_to_compare(tmp_path: Path) -> None:
    arguments = ("compare-parallel", "configs/tiny.yaml", "--run", tmp_path / "runs")
    with pytest.raises(AssertionError, match="one rank has nothing to compare"):
        run_ranks(1, "command.py", *arguments)
