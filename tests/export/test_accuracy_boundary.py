"""Boundary F against an oracle that measures distances, and against what must be."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from helpers.scenes import block, disc
from lineside.export.accuracy.boundary import boundary, boundary_f
from lineside.runtime.masks import Mask


def oracle(one: np.ndarray, other: np.ndarray, distance: float) -> float:
    """The same by erosion and Euclidean distance maps of the whole picture."""
    edges = [table & ~ndimage.binary_erosion(table, border_value=1) for table in (one, other)]
    if not edges[0].any() or not edges[1].any():
        return float(edges[0].any() == edges[1].any())
    near = [ndimage.distance_transform_edt(~edge) <= distance + 1e-9 for edge in edges]
    precision, recall = near[1][edges[0]].mean(), near[0][edges[1]].mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def f(one: np.ndarray, other: np.ndarray, distance: float = 1.0) -> float:
    return boundary_f(Mask.from_array(one), Mask.from_array(other), distance)


@st.composite
def pair_of_masks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    if draw(st.booleans()):
        density = draw(st.sampled_from([0.05, 0.5, 0.95]))
        return rng.random((height, width)) < density, rng.random((height, width)) < density
    # blobs, often across the border of the picture
    tables = []
    for _ in range(2):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0, 9)
        tables.append(disc(x, y, radius, (height, width)))
    return tables[0], tables[1]


@given(masks=pair_of_masks(), distance=st.sampled_from([1.0, 1.5, 2.0, 3.0, 5.0]))
def test_it_is_what_distances_say(masks: tuple[np.ndarray, np.ndarray], distance: float) -> None:
    assert f(*masks, distance) == pytest.approx(oracle(*masks, distance), abs=1e-12)
    assert f(*masks, distance) == pytest.approx(f(masks[1], masks[0], distance), abs=1e-12)


def test_boundary_pixels() -> None:
    assert boundary(block(10, 10, 6, 5)).sum() == 2 * 6 + 2 * 3
    assert boundary(block(0, 10, 6, 5)).sum() == 2 * 6 + 3  # the left side is cut by the picture: nobody's estimate
    assert not boundary(np.ones((9, 9), bool)).any()


def test_the_same_mask() -> None:
    assert f(disc(30, 20, 12), disc(30, 20, 12)) == 1.0


def test_empty_masks() -> None:
    nothing = np.zeros((48, 64), bool)
    assert f(nothing, nothing) == 1.0
    assert f(nothing, disc(30, 20, 12)) == 0.0
    assert f(disc(30, 20, 12), nothing) == 0.0


@pytest.mark.parametrize("distance", [1.0, 2.0])
def test_the_farther_a_mask_is_off_the_less_is_right(distance: float) -> None:
    values = [f(disc(24, 24, 14), disc(24 + shift, 24, 14), distance) for shift in range(10)]
    assert values[0] == 1.0
    assert all(a >= b for a, b in pairwise(values)), values
    assert values[-1] < 0.4


def test_a_mask_that_is_too_large_all_round() -> None:
    inner, outer = block(20, 20, 12, 10), block(19, 19, 14, 12)
    assert f(inner, outer, 2.0) == 1.0
    corners = 4 / (2 * 14 + 2 * 10)  # they are farther off than a pixel, everything else is not
    assert f(inner, outer, 1.0) == pytest.approx(2 * (1 - corners) / (2 - corners))
    assert f(inner, block(17, 17, 18, 16), 2.0) == 0.0
