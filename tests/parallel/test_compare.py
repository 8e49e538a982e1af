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
    data, branch = json.loads((tmp_path / "runs/comparison.json").read_text())["placements"]
    assert (data["placement"], branch["placement"]) == ("data", "branch")
    assert branch["validation_loss"] == pytest.approx(data["validation_loss"], rel=1e-9)
    assert branch["sent_bytes"] != data["sent_bytes"]
    assert all(0 < share <= 1 for one in (data, branch) for share in one["busy"])
    assert all(memory > 1e8 for one in (data, branch) for memory in one["memory"])
    paths = [tmp_path / "runs" / name / "weights/best.npz" for name in ("data", "branch")]
    with np.load(paths[0]) as one, np.load(paths[1]) as other:
        names = [name for name in one.files if one[name].dtype.kind == "f"]
        assert names
        for name in names:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-8, atol=1e-10)


def test_one_rank_has_nothing_to_compare(tmp_path: Path) -> None:
    arguments = ("compare-parallel", "configs/tiny.yaml", "--run", tmp_path / "runs")
    with pytest.raises(AssertionError, match="one rank has nothing to compare"):
        run_ranks(1, "command.py", *arguments)
