"""What a placement sends, predicted and counted by the network interfaces of two hosts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.hosts import missing_for_hosts, open_hosts
from hvd_nowcast.shards.convert.scene import open_scene
from hvd_nowcast.shards.scene_build import build_scene
from hvd_nowcast.shards.split import parse_split
from tests.parallel.conftest import need_mpi, ranks_environment
from tests.unit.made_scene import write_scene_file

__all__ = ["need_mpi"]

SPLIT = parse_split("train=0.6,validation=0.2,test=0.2")


def test_predicted_bytes_are_those_of_the_interfaces(tmp_path: Path) -> None:
    if missing := missing_for_hosts():
        pytest.skip(f"hosts cannot be made: {missing}")
    build_scene(open_scene([write_scene_file(tmp_path / "scene.nc")]), tmp_path / "shards", SPLIT)
    tree = {
        "task": "landcover",
        "data": {"shards": str(tmp_path / "shards"), "patch": 5},
        # Large enough that what Horovod's ranks say to each other besides is little.
        "model": {"filters": [8], "features": 32, "head": 512},
        "training": {"global_batch": 64, "validation_samples": 20},
    }
    config, runs = tmp_path / "config.yaml", tmp_path / "runs"
    config.write_text(yaml.safe_dump(tree))
    command = [sys.executable, "-m", "hvd_nowcast", "compare-parallel", str(config)]
    with open_hosts(2, tmp_path / "hosts") as hosts:
        job = hosts.mpirun([*command, "--run", str(runs), "--steps", "30"], ranks_environment())
        output, _ = job.communicate(timeout=300)
    assert job.returncode == 0, output
    placements = json.loads((runs / "comparison.json").read_text())["placements"]
    assert [one["placement"] for one in placements] == ["data", "branch", "layer"]
    for one in placements:
        assert one["wire_bytes"] == pytest.approx(one["sent_bytes"], rel=0.1), output
