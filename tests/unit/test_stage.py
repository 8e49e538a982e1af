from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from hvd_nowcast.config import DataSection, TrainingSection
from hvd_nowcast.errors import OutputError, ShardError
from hvd_nowcast.loader.assignment import equal_shares
from hvd_nowcast.shards import stage as staging
from hvd_nowcast.shards.check import check_shards
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.stage import stage_shards
from hvd_nowcast.stage import stage
from hvd_nowcast.train import train
from hvd_nowcast.training.reading_plan import shards_read

Usage = namedtuple("Usage", "total used free")
TINY = Path(__file__).parents[2] / "configs/tiny.yaml"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def of_split(folder: Path, *splits: str) -> set[str]:
    return {entry.file for entry in Manifest.load(folder).shards if entry.split in splits}


def test_a_copy_is_whole_and_a_second_call_copies_nothing(
    synthetic_shards: Path, tmp_path: Path
) -> None:
    target = tmp_path / "disk" / "copy"
    first = stage_shards(synthetic_shards, target)
    assert first.files == len(Manifest.load(synthetic_shards).shards)
    assert all(result.ok for result in check_shards(target))
    again = stage_shards(synthetic_shards, target)
    assert (again.files, again.kept) == (0, first.files)


def test_a_damaged_copy_is_made_anew(synthetic_shards: Path, tmp_path: Path) -> None:
    stage_shards(synthetic_shards, tmp_path / "copy")
    broken = tmp_path / "copy" / Manifest.load(synthetic_shards).shards[0].file
    broken.write_bytes(b"0" * broken.stat().st_size)
    assert stage_shards(synthetic_shards, tmp_path / "copy").files == 1
    assert all(result.ok for result in check_shards(tmp_path / "copy"))


def test_a_damaged_original_is_named_and_not_copied(synthetic_shards: Path, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    shutil.copytree(synthetic_shards, origin)
    broken = origin / Manifest.load(origin).shards[1].file
    broken.write_bytes(b"0" * broken.stat().st_size)
    with pytest.raises(ShardError, match=f"{broken.name}.*checksum.*shards check"):
        stage_shards(origin, tmp_path / "copy")
    assert broken.name not in names(tmp_path / "copy")
    assert not list((tmp_path / "copy").glob(".*"))
    assert "manifest.json" not in names(tmp_path / "copy")
    broken.unlink()
    with pytest.raises(ShardError, match="it is missing"):
        stage_shards(origin, tmp_path / "copy")


def test_a_full_disk_is_told_before_anything_is_copied(
    synthetic_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda _: Usage(9, 9, 2**20))
    with pytest.raises(OutputError, match="do not fit, 1 MiB are free.*Nothing was copied"):
        stage_shards(synthetic_shards, tmp_path / "copy")
    assert names(tmp_path / "copy") == set()


def test_shards_are_not_staged_onto_themselves(synthetic_shards: Path) -> None:
    with pytest.raises(OutputError, match="lie there already"):
        stage_shards(synthetic_shards, synthetic_shards)


def test_only_what_the_ranks_of_a_node_read(synthetic_shards: Path) -> None:
    manifest = Manifest.load(synthetic_shards)
    data = DataSection(shards="x", frames_in=4, frames_out=3, crop=32)

    def read(steps: int, *ranks: int) -> set[str]:
        training = TrainingSection(steps=steps, global_batch=4, validation_samples=1)
        return shards_read(manifest, data, training, equal_shares(4, 4), ranks)

    assert read(2000, 3) == of_split(synthetic_shards, "train")
    assert read(2000, 0) == of_split(synthetic_shards, "train", "validation")
    # One step: one window of seven frames, in at most two shards of thirty.
    assert 1 <= len(read(1, 3)) <= 2
    assert read(1, 1) | read(1, 2) == read(1, 1, 2)


def test_the_copy_of_a_node_is_enough_to_train(synthetic_shards: Path, tmp_path: Path) -> None:
    settings = [
        "data.synthetic=null", f"data.shards={synthetic_shards}", "training.steps=2",
        "training.validate_every=2", "training.validation_samples=1",
    ]  # fmt: skip
    copy = tmp_path / "copy"
    (line,) = stage(synthetic_shards, copy, TINY, settings)
    assert "are not needed" in line
    assert names(copy) - {"manifest.json"} <= of_split(synthetic_shards, "train", "validation")
    staged = train(TINY, tmp_path / "a", settings, shards=[copy])
    plain = train(TINY, tmp_path / "b", settings)
    assert staged is not None and plain is not None
    assert staged["fingerprint"] == plain["fingerprint"]
    # Another job has its copy elsewhere, or none.
    config = (tmp_path / "a/config.yaml").read_text()
    assert str(copy) not in config
    assert json.loads((tmp_path / "a/data.json").read_text())["shards"]
    assert train(TINY, tmp_path / "a", settings, resume=True) is None


def test_without_a_run_the_test_split_alone_is_left_out(
    synthetic_shards: Path, tmp_path: Path
) -> None:
    stage(synthetic_shards, tmp_path / "copy")
    expected = of_split(synthetic_shards, "train", "validation") | {"manifest.json"}
    assert names(tmp_path / "copy") == expected
