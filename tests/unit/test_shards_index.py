"""Windows against brute force, and the rules that split an archive."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvd_nowcast.errors import ConfigError
from hvd_nowcast.shards.index import build_index, segments_of
from hvd_nowcast.shards.manifest import GridSummary, Manifest, ShardEntry
from hvd_nowcast.shards.schema import Packing
from hvd_nowcast.shards.split import DROPPED, SPLITS, parse_split

STEP = 300
START = np.datetime64("2020-01-01T00:00:00", "s")
GRID = GridSummary("0" * 16, (4, 4), 1000.0)
PACKING = Packing("uint16", 0.1, 0.0, 65535)


def make_manifest(times: list[int], shards: list[int], splits: list[str], event: bool) -> Manifest:
    """Frames at the given steps, cut into shards, each of one split."""
    stamps = START + np.array(times) * np.timedelta64(STEP, "s")
    sequence = np.concatenate([[0], np.cumsum(np.diff(times) != 1)]).astype(np.int32)
    entries, first = [], 0
    for number, (size, split) in enumerate(zip(shards, splits, strict=True)):
        part = slice(first, first + size)
        segments = segments_of(stamps[part], sequence[part], event)
        wet = tuple(float(t) for t in times[part])
        entries.append(ShardEntry(f"{number}.nc", 1, "0", split, size, segments, wet))
        first += size
    return Manifest("rain_rate", STEP, GRID, PACKING, tuple(entries), {})


@st.composite
def archives(draw: st.DrawFn) -> tuple[Manifest, list[int], list[int], list[str], bool]:
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=5))
    gaps = draw(
        st.lists(st.sampled_from([1, 1, 1, 1, 3]), min_size=sum(sizes), max_size=sum(sizes))
    )
    times = np.cumsum(gaps).tolist()
    splits = draw(
        st.lists(st.sampled_from(["train", "test"]), min_size=len(sizes), max_size=len(sizes))
    )
    event = draw(st.booleans())
    return make_manifest(times, sizes, splits, event), times, sizes, splits, event


@given(archives(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
@settings(max_examples=150, deadline=None)
def test_exactly_the_legal_windows_are_found(
    archive: tuple[Manifest, list[int], list[int], list[str], bool],
    frames_in: int,
    frames_out: int,
    stride: int,
) -> None:
    manifest, times, sizes, splits, event = archive
    shard = np.repeat(np.arange(len(sizes)), sizes)
    frame = np.concatenate([np.arange(size) for size in sizes])
    length = frames_in + frames_out
    legal = []
    run_start = 0
    for first in range(len(times)):
        before = first - 1
        broken = first and (
            times[first] != times[before] + 1
            or splits[shard[first]] != splits[shard[before]]
            or (event and shard[first] != shard[before])
        )
        run_start = first if broken else run_start
        window = range(first, first + length)
        if window.stop > len(times) or splits[shard[first]] != "train":
            continue
        unbroken = all(
            times[b] == times[a] + 1
            and splits[shard[a]] == splits[shard[b]]
            and not (event and shard[a] != shard[b])
            for a, b in zip(window, window[1:], strict=False)
        )
        if unbroken and (first - run_start) % stride == 0:
            legal.append([(f"{shard[i]}.nc", int(frame[i])) for i in window])
    index = build_index(manifest, "train", frames_in, frames_out, stride)
    found = [
        [(piece.file, i) for piece in index.pieces(w) for i in range(piece.start, piece.stop)]
        for w in range(len(index))
    ]
    assert found == legal
    time_of = {(f"{s}.nc", int(f)): t for s, f, t in zip(shard, frame, times, strict=True)}
    for window, places in enumerate(legal):
        newest = START + np.timedelta64(STEP, "s") * time_of[places[frames_in - 1]]
        assert index.start_time(window) == newest
        wet = np.mean([time_of[place] for place in places])
        assert index.wet_fraction[window] == pytest.approx(wet, rel=1e-5)
        assert index.shards()[window] == int(places[0][0][:-3])


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("train=0.7,validation=0.15,test=0.15", (70, 15, 15)),
        ("train=1", (100, 0, 0)),
        ("train=0.5,test=0.25", (50, 0, 25)),
    ],
)
def test_fractions_cut_in_time_order(text: str, counts: tuple[int, ...]) -> None:
    times = START + np.arange(100) * np.timedelta64(STEP, "s")
    where = parse_split(text).assign(times, np.zeros(100, np.int32), False)
    assert tuple((where == number).sum() for number in range(3)) == counts
    kept = where[where != DROPPED]
    assert (np.diff(kept) >= 0).all()


def test_dates_exclude_the_end_and_drop_the_rest() -> None:
    times = START + np.arange(0, 4 * 288) * np.timedelta64(STEP, "s")
    rule = parse_split("train=2020-01-02:2020-01-03,test=2020-01-03T12:00:00:2020-01-04")
    where = rule.assign(times, np.zeros(len(times), np.int32), False)
    assert (where[:288] == DROPPED).all()
    assert (where[288:576] == SPLITS.index("train")).all()
    assert (where[576:720] == DROPPED).all()
    assert (where[720:864] == SPLITS.index("test")).all()


def test_an_event_is_never_cut() -> None:
    sequence = np.repeat(np.arange(10), 7).astype(np.int32)
    times = START + np.arange(70) * np.timedelta64(STEP, "s")
    where = parse_split("train=0.5,validation=0.25,test=0.25").assign(times, sequence, True)
    assert all(len(set(where[sequence == event])) == 1 for event in range(10))
    assert set(where) == {0, 1, 2}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "learn=0.5",
        "train=half",
        "train=0.9,test=0.9",
        "train=-0.1,test=0.5",
        "train=0",
        "train=2020-01-02",
        "train=2020-01-03:2020-01-02",
        "train=2020-01-01:2020-01-03,test=2020-01-02:2020-01-04",
        "train=2020-01-01:2020-99-03",
    ],
)
def test_bad_splits_are_explained(text: str) -> None:
    with pytest.raises(ConfigError, match="--split"):
        parse_split(text)
