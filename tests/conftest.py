"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.shards.synthetic import synthetic_source

REPOSITORY = Path(__file__).parents[1]

# How long a test takes says nothing where tests share the cores.
settings.register_profile("shared cores", deadline=None)
settings.load_profile("shared cores")


@pytest.fixture(scope="module", autouse=True)
def nothing_left_open() -> Iterator[None]:
    """Close what a module left to Python, before another reads files in a second thread."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real sample data; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("HVD_NOWCAST_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no sample data in {folder}; set HVD_NOWCAST_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def synthetic_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small folder of shards with all three splits."""
    folder = tmp_path_factory.mktemp("synthetic") / "shards"
    source = synthetic_source(120, shape=(40, 48), seed=2, disc=True)
    build_shards(source, folder, parse_split("train=0.6,validation=0.2,test=0.2"), 30)
    return folder
