"""Regions: cut, described, compared, planned; no training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvd_nowcast.config import (
    DataSection,
    NowcastConfig,
    RegionSection,
    TransferSection,
    load_regions_config,
)
from hvd_nowcast.errors import ConfigError, InputError
from hvd_nowcast.grid import Grid
from hvd_nowcast.loader.region import RegionReader, mask_of, regional_manifest, slices_of
from hvd_nowcast.regions.basin import rain_runoff_lag
from hvd_nowcast.regions.radar import (
    decorrelation_length,
    describe_radar,
    displacement,
    harmonic,
)
from hvd_nowcast.regions.scores import RegionScore, pooled_skill
from hvd_nowcast.regions.segment import cut_grid, cut_polygons, cut_quadtree
from hvd_nowcast.regions.similarity import (
    Description,
    aligned_blocks,
    feature_distances,
    find_clusters,
    space_distances,
)
from hvd_nowcast.regions.transfer import (
    Grouping,
    align,
    farm_jobs,
    model_config,
    models_of,
    plan_models,
    serving_model,
)
from hvd_nowcast.shards.build import build_shards
from hvd_nowcast.shards.index import build_index
from hvd_nowcast.shards.manifest import Manifest
from hvd_nowcast.shards.reader import ReaderPool
from hvd_nowcast.shards.split import parse_split
from hvd_nowcast.shards.synthetic import synthetic_source


def times_covered(regions: list[RegionSection], shape: tuple[int, int]) -> np.ndarray:
    count = np.zeros(shape, int)
    for region in regions:
        count[slices_of(region)] += mask_of(region)
    return count


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 7), st.integers(1, 7))
def test_a_grid_covers_every_pixel_once(height: int, width: int, rows: int, columns: int) -> None:
    if rows > height or columns > width:
        with pytest.raises(ConfigError, match="do not fit"):
            cut_grid((height, width), rows, columns)
        return
    regions = cut_grid((height, width), rows, columns)
    assert len(regions) == rows * columns
    assert (times_covered(regions, (height, width)) == 1).all()
    heights = {r.bounds[1] - r.bounds[0] for r in regions if r.bounds}
    assert max(heights) - min(heights) <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 9), st.floats(0.05, 1.0))
def test_a_quadtree_covers_every_pixel_once(seed: int, least: int, most: float) -> None:
    density = np.random.default_rng(seed).gamma(0.1, 1.0, (37, 52))
    regions = cut_quadtree(density, most, least)
    assert (times_covered(regions, density.shape) == 1).all()
    for region in regions:
        top, bottom, left, right = region.bounds or (0, 0, 0, 0)
        assert min(bottom - top, right - left) >= least
        held = density[top:bottom, left:right].sum()
        assert held <= most * density.sum() or min(bottom - top, right - left) < 2 * least


def test_a_quadtree_is_finer_where_the_data_are() -> None:
    density = np.zeros((64, 64))
    density[:16, :16] = 1.0
    regions = cut_quadtree(density, 0.3, 4)
    sides = {r.bounds: r.bounds[1] - r.bounds[0] for r in regions if r.bounds}
    assert sides[(0, 8, 0, 8)] == 8
    assert sides[(32, 64, 32, 64)] == 32


def polygon_file(path: Path, *rings: list[tuple[float, float]]) -> Path:
    features = [
        {"properties": {"name": f"p{n}"}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for n, ring in enumerate(rings)
    ]
    path.write_text(json.dumps({"features": features}))
    return path


def test_polygons_that_share_a_side_share_no_pixel(tmp_path: Path) -> None:
    grid = Grid(1000.0 * np.arange(12), 1000.0 * np.arange(10)[::-1])
    left = [(-500, -500), (5000, -500), (7000, 9500), (-500, 9500)]
    right = [(5000, -500), (11500, -500), (11500, 9500), (7000, 9500)]
    regions = cut_polygons(polygon_file(tmp_path / "p.json", left, right), grid)
    assert [region.name for region in regions] == ["p0", "p1"]
    assert (times_covered(regions, grid.shape) == 1).all()


def test_polygons_elsewhere_or_none_are_refused(tmp_path: Path) -> None:
    grid = Grid(np.arange(5.0), np.arange(5.0)[::-1])
    away = polygon_file(tmp_path / "away.json", [(50, 50), (60, 50), (60, 60)])
    with pytest.raises(InputError, match="holds no pixel"):
        cut_polygons(away, grid)
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(InputError, match="not a GeoJSON"):
        cut_polygons(tmp_path / "none.json", grid)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive") / "shards"
    source = synthetic_source(120, shape=(48, 64), seed=3)
    build_shards(source, folder, parse_split("train=0.7,validation=0.15,test=0.15"))
    return folder


def test_a_region_is_the_archive_cropped(archive: Path) -> None:
    manifest, pool = Manifest.load(archive), ReaderPool(archive)
    outline = ((8.0, 16.0), (8.0, 40.0), (30.0, 16.0))
    region = RegionSection("R", (8, 32, 16, 40), outline)
    reader = RegionReader(pool, region, manifest.packing.fill)
    seen = regional_manifest(manifest, reader, region)
    assert seen.grid.shape == (24, 24)
    file = manifest.shards[0].file
    whole, part = pool.read_codes(file, 0, 3), reader.read_codes(file, 0, 3)
    inside = mask_of(region)
    assert (part[:, inside] == whole[:, 8:32, 16:40][:, inside]).all()
    assert (part[:, ~inside] == manifest.packing.fill).all()
    assert 0.3 < inside.mean() < 0.7
    with pytest.raises(ConfigError, match="do not lie in the grid"):
        regional_manifest(manifest, reader, RegionSection("far", (0, 99, 0, 9)))


def test_periods_keep_the_windows_that_start_inside(archive: Path) -> None:
    index = build_index(Manifest.load(archive), "train", 4, 3)
    first = index.start_time(0)
    last = str(first + np.timedelta64(25, "m"))
    part = index.within([(str(first), last)])
    assert [str(part.start_time(w)) for w in range(len(part))] == [
        str(first + np.timedelta64(5 * k, "m")) for k in range(5)
    ]
    assert part.pieces(2) == index.pieces(2)


def test_descriptors_of_made_fields() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(64, 64))
    smooth = np.add.reduce([np.roll(noise, (a, b), (0, 1)) for a in range(8) for b in range(8)])
    assert decorrelation_length(noise) < 1.5 < 3 < decorrelation_length(smooth) < 8
    blob = np.zeros((40, 50))
    blob[10:16, 20:30] = generator.random((6, 10))
    assert displacement(blob, np.roll(blob, (3, -4), (0, 1))) == (3.0, -4.0)
    seconds = 3600.0 * np.arange(240)
    day = 1 + 0.5 * np.cos(2 * np.pi * seconds / 86400)
    assert harmonic(seconds, day, 86400.0) == pytest.approx((0.5, 0.0), abs=1e-6)
    rain = np.maximum(generator.normal(size=300), 0)
    store = np.zeros(300)
    for step in range(3, 300):
        store[step] = 0.7 * store[step - 1] + rain[step - 2]
    assert rain_runoff_lag(rain, store) == pytest.approx(2 - 1, abs=1.2)


class Frames:
    """Frames that are given."""

    def __init__(self, codes: np.ndarray) -> None:
        self.codes = codes

    def read_codes(self, file: str, start: int, stop: int) -> np.ndarray:
        return np.repeat(self.codes[None], stop - start, 0)


@pytest.mark.parametrize("kind", ["no data", "no rain", "frames", "rain"])
def test_regions_with_nothing_to_learn_from_are_told(archive: Path, kind: str) -> None:
    manifest = Manifest.load(archive)
    codes = np.zeros(manifest.grid.shape, manifest.packing.dtype)
    if kind == "no data":
        codes[:] = manifest.packing.fill
    if kind == "rain":
        codes[::3] = manifest.packing.fill // 2
    regions = cut_grid(manifest.grid.shape, 1, 2)
    least = 10_000 if kind == "frames" else 5
    for found in describe_radar(manifest, Frames(codes), regions, least, 6.0):
        assert (found.problem is None) == (kind == "rain")
        assert found.problem is None or kind in found.problem


def described(*features: float, place: float = 0.0, **rest: object) -> Description:
    named = {f"f{n}": value for n, value in enumerate(features)}
    return Description((place, 0.0), named, **rest)  # type: ignore[arg-type]


def test_distances_do_not_depend_on_units_and_ignore_what_is_not_known() -> None:
    first = [described(1.0, 100.0, 5.0), described(2.0, 300.0, 5.0), described(4.0, 200.0, 5.0)]
    second = [described(1000 * a, b / 7, 5.0) for a, b in ((1, 100), (2, 300), (4, 200))]
    assert feature_distances(first) == pytest.approx(feature_distances(second))
    unknown = [described(1.0, np.nan), described(1.0, 2.0), described(3.0, 2.0)]
    assert feature_distances(unknown)[0, 1] == 0.0


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 99))
def test_every_cluster_has_a_source_of_its_own(count: int, wanted: int, seed: int) -> None:
    pytest.importorskip("sklearn")
    generator = np.random.default_rng(seed)
    found = [described(*generator.normal(size=3)) for _ in range(count)]
    clusters = find_clusters(feature_distances(found), wanted)
    assert len(clusters.sources) == min(wanted, count) == len(set(clusters.label.tolist()))
    for number, source in enumerate(clusters.source):
        assert clusters.label[source] == clusters.label[number]


def test_regions_alike_in_all_are_one_cluster() -> None:
    same = [described(1.0, 2.0) for _ in range(4)]
    assert find_clusters(feature_distances(same), 3).sources == [0]
    one = find_clusters(feature_distances(same[:1]), 3)
    assert one.sources == [0]
    assert find_clusters(np.zeros((0, 0)), 3).sources == []


def test_aligned_blocks_have_the_same_weather_and_some() -> None:
    source = np.array([[5.0], [0.0], [4.0], [0.0]])
    other = np.array([[5.0], [0.0], [0.0], [3.0]])
    assert aligned_blocks(source, [other], 0.25).tolist() == [True, False, False, False]
    assert aligned_blocks(source, [other, other], 0.01).sum() == 1
    assert aligned_blocks(source, [], 0.5).all()


def grouping(count: int, sources: int = 2) -> tuple[list[RegionSection], Grouping]:
    pytest.importorskip("sklearn")
    regions = cut_grid((8, 4 * count), 1, count)
    starts = tuple(f"2018-05-1{n}T00:00:00" for n in range(4))
    found = [
        described(
            float(n // 2),
            place=float(n),
            regime=np.array([[1.0], [0.0], [n + 1.0], [1.0]]),
            block_starts=starts,
        )
        for n in range(count)
    ]
    similar = find_clusters(feature_distances(found), sources)
    nearest = find_clusters(space_distances(found), sources)
    return regions, Grouping(similar, nearest, align(found, similar, 0.5, 24.0))


def test_the_plan_of_all_schemes_trains_each_model_once() -> None:
    regions, groups = grouping(6)
    schemes = ("scratch", "global", "nearest", "similar", "aligned")
    models = plan_models(regions, schemes, groups, compare=True)
    planned = {model.name: model for model in models}
    assert len(planned) == len(models)
    assert {m.name for m in models if m.source is None} == {
        *(f"scratch/{region.name}" for region in regions),
        "global/domain",
        *(f"aligned/source-{regions[s].name}" for s in groups.similar.sources),
    }
    sources = {m.source for m in models if m.source}
    assert {m.turn for m in models if m.name in sources} == {0}
    for scheme in schemes:
        for region in regions:
            name = serving_model(scheme, region.name, planned)
            assert planned[name].region == region
            target = planned[name].target
            assert target == (f"scratch/{region.name}" if planned[name].source else None)
    assert len(models_of("similar", [r.name for r in regions], planned)) == 6
    assert len(models_of("aligned", [r.name for r in regions], planned)) == 8


def test_fitting_trains_no_more_than_its_scheme_needs() -> None:
    regions, groups = grouping(6)
    models = plan_models(regions, ["similar"], groups, compare=False)
    assert len(models) == 6
    assert {m.turn for m in models if m.source is None} == {0}
    assert all(m.target is None for m in models)


def test_the_source_of_the_aligned_scheme_sees_the_aligned_time() -> None:
    regions, groups = grouping(4)
    models = {m.name: m for m in plan_models(regions, ["aligned"], groups, compare=False)}
    source = next(m for m in models.values() if m.source is None)
    assert source.region is not None and source.region.periods
    hours = [np.datetime64(b) - np.datetime64(a) for a, b in source.region.periods]
    assert sum(hours, np.timedelta64(0, "h")) == np.timedelta64(48, "h")


def test_configurations_of_sources_and_dependants(tmp_path: Path) -> None:
    regions, groups = grouping(4)
    base = NowcastConfig(data=DataSection(shards="x"))
    transfer = TransferSection(freeze=("down0",), steps=7, learning_rate=1e-4)
    models = plan_models(regions, ["global"], groups, compare=False)
    for model in models:
        config = model_config(base, model, tmp_path, transfer, 0.5)
        assert config.region == model.region
        if model.source is None:
            assert config.start is None and config.training == base.training
        else:
            assert config.start is not None and config.start.run == str(tmp_path / model.source)
            assert config.training.steps == 7 and config.training.target_loss == 0.5
    jobs = farm_jobs(models, base, transfer)
    assert {job.cost for job in jobs} == {7.0, float(base.training.steps)}


def test_skill_of_several_regions_is_that_of_their_counts() -> None:
    counted = [RegionScore(0.5, 1.0, (1.0, 2.0)), RegionScore(None, 1.0, (0.0, 0.0))]
    assert pooled_skill([*counted, RegionScore(0.1, 1.0, (1.0, 8.0))]) == pytest.approx(0.2)
    assert pooled_skill([RegionScore(0.5, 1.0), RegionScore(0.7, 1.0)]) == pytest.approx(0.6)
    assert pooled_skill([RegionScore(None, 1.0, (0.0, 0.0))]) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("base: a.yaml\ncut: {kind: circle}", "cut.kind is 'circle'"),
        ("base: a.yaml\ncut: {kind: polygons}", "cut.polygons"),
        ("base: a.yaml\ntransfer: {scheme: magic}", "transfer.scheme is 'magic'"),
        ("cut: {kind: grid}", "base"),
    ],
)
def test_wrong_regions_configurations_are_explained(
    tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "regions.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=problem):
        load_regions_config(file)


def test_a_region_needs_bounds_or_a_gauge() -> None:
    with pytest.raises(ConfigError, match="either bounds"):
        RegionSection("a")
    with pytest.raises(ConfigError, match="region.bounds are"):
        RegionSection("a", (5, 2, 0, 3))
