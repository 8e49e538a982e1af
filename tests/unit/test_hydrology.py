"""Flow networks, travel times and contributions, on networks small enough to work out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvd_nowcast.config import HydrologySection
from hvd_nowcast.errors import InputError
from hvd_nowcast.hydrology.contribution import (
    Contribution,
    Units,
    contribution,
    travel_time_classes,
)
from hvd_nowcast.hydrology.network import (
    OUTSIDE,
    FlowNetwork,
    directions_to_pointers,
    require_no_circle,
)
from hvd_nowcast.hydrology.travel_time import travel_hours, velocity

pytest.importorskip("pyflwdir", reason="pyflwdir is not installed: launch/setup.sh brings it")

FILE = Path("directions.nc")
# Two rows that join in the east: right, right, down / right, right, outlet.
D8 = np.array([[1, 1, 4], [1, 1, 0]])
LDD = np.array([[6, 6, 2], [6, 6, 5]])
POINTERS = [1, 2, 5, 4, 5, 5]


def network(area: float = 1.0) -> FlowNetwork:
    ones = np.ones(6)
    return FlowNetwork(np.array(POINTERS), 1000.0 * ones, 0.01 * ones, area * ones)


@pytest.mark.parametrize("codes", [D8, LDD], ids=["esri-d8", "pcraster-ldd"])
def test_both_codings_give_the_same_pointers(codes: np.ndarray) -> None:
    assert directions_to_pointers(codes, FILE).tolist() == POINTERS


def test_cells_outside_are_no_nodes() -> None:
    codes = np.array([[255, 1, 4], [255, 1, 0]])
    assert directions_to_pointers(codes, FILE).tolist() == [OUTSIDE, 2, 5, OUTSIDE, 5, 5]


def test_a_direction_off_the_map_is_an_outlet() -> None:
    assert directions_to_pointers(np.array([[1, 1, 1]]), FILE).tolist() == [1, 2, 2]


def test_a_circle_is_refused_and_named() -> None:
    with pytest.raises(InputError, match=r"circle through row 0, column [01]; 2 nodes never reach"):
        directions_to_pointers(np.array([[1, 16, 4], [1, 1, 0]]), FILE)


def test_unknown_codes_are_refused() -> None:
    with pytest.raises(InputError, match="directions 77"):
        directions_to_pointers(np.array([[1, 77, 0]]), FILE)


@pytest.mark.parametrize(
    ("pointers", "message"),
    [([1, 0, 2], "circle through segment"), ([1, 9], "drains to number 9, but there are 2")],
)
def test_bad_segments_are_refused(pointers: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        require_no_circle(np.array(pointers), FILE)


def test_area_adds_up_downstream() -> None:
    assert network(2.0).upstream_area.tolist() == [2, 4, 6, 2, 4, 12]


def test_who_drains_through_a_node() -> None:
    assert network().drains_through(2).tolist() == [True, True, True, False, False, False]
    assert network().drains_through(5).all()


def test_without_exponents_the_flow_has_the_mean_velocity() -> None:
    section = HydrologySection(mean_velocity=0.5, slope_exponent=0.0, area_exponent=0.0)
    assert velocity(network(), section) == pytest.approx(0.5)
    hours = travel_hours(network(), section)
    step = 1000 / 0.5 / 3600
    assert hours == pytest.approx(step * np.array([3, 2, 1, 2, 1, 0]))


def test_larger_rivers_are_faster_and_limits_hold() -> None:
    section = HydrologySection(slope_exponent=0.0, area_exponent=1.0, largest_velocity=0.6)
    speed = velocity(network(), section)
    assert speed[0] < speed[1] < speed[2] <= 0.6


def test_weights_add_up_and_delays_count_from_the_gauge() -> None:
    section = HydrologySection(slope_exponent=0.0, area_exponent=0.0)
    hours = travel_hours(network(), section)
    cells = np.arange(6)
    units = Units(cells, cells // 3, cells % 3, np.array([1.0, 3, 1, 1, 1, 1]))
    field = contribution(network(), units, hours, 2, (2, 3))
    assert field.area == 5.0
    np.testing.assert_allclose(field.weight, [[0.2, 0.6, 0.2], [0, 0, 0]], atol=1e-6)
    step = 1000 / 0.5 / 3600
    np.testing.assert_allclose(field.delay, [[2 * step, step, 0], [0, 0, 0]], atol=1e-6)


def test_land_in_one_pixel_is_averaged_by_area() -> None:
    units = Units(np.array([0, 1]), np.zeros(2, int), np.zeros(2, int), np.array([1.0, 3.0]))
    hours = np.array([4.0, 0.0, 0, 0, 0, 0])
    field = contribution(network(), units, hours, 5, (1, 1))
    assert (field.weight.item(), field.delay.item(), field.area) == (1.0, 1.0, 4.0)


def test_a_gauge_without_land_is_refused() -> None:
    units = Units(np.array([0]), np.zeros(1, int), np.zeros(1, int), np.ones(1))
    with pytest.raises(ValueError, match="no land"):
        contribution(network(), units, np.zeros(6), 3, (1, 1))


@given(
    st.lists(
        st.tuples(st.just(0.0) | st.floats(1e-3, 5), st.floats(0, 50)), min_size=1, max_size=30
    ),
    st.integers(1, 6),
)
def test_classes_share_the_weight_alike(pixels: list[tuple[float, float]], classes: int) -> None:
    weight = np.array([w for w, _ in pixels])
    if weight.sum() < 1e-3:
        return
    weight = (weight / weight.sum()).astype(np.float32)[None]
    delay = np.array([d for _, d in pixels], np.float32)[None]
    members = travel_time_classes(Contribution(weight, delay, 1.0), classes)
    np.testing.assert_allclose(members.sum(-1), (weight > 0).astype(float), atol=1e-4)
    np.testing.assert_allclose((weight[..., None] * members).sum((0, 1)), 1 / classes, atol=1e-4)
    mean = (weight[..., None] * members * delay[..., None]).sum((0, 1))
    assert (np.diff(mean) >= -1e-3).all()
