"""Outer contours, beside OpenCV's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside.runtime.masks import Mask

cv2 = pytest.importorskip("cv2", reason="OpenCV is what the contours are compared with")

Table = npt.NDArray[Any]


def walked(polygon: npt.NDArray[np.float32]) -> set[tuple[int, int]]:
    """Every pixel on the way from corner to corner; each step is a straight run or a diagonal one."""
    points = set()
    corners = polygon.astype(int)
    for a, b in zip(corners, np.roll(corners, -1, 0), strict=True):
        steps = np.abs(b - a).max()
        assert {int(abs(d)) for d in b - a} <= {0, int(steps)}, "a run is straight or diagonal"
        points |= {(int(x), int(y)) for x, y in (a + np.sign(b - a) * k for k in range(steps + 1))}
    return points


def theirs(table: Table) -> list[set[tuple[int, int]]]:
    """OpenCV's outer border of every component, those inside the holes of others too."""
    contours, tree = cv2.findContours(table.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parents = tree[0, :, 3] if tree is not None else []
    return [{(int(x), int(y)) for x, y in c[:, 0]} for c, p in zip(contours, parents, strict=True) if p < 0]


def check(table: Table) -> None:
    polygons = Mask.from_array(table).polygons()
    key = sorted
    assert key(map(key, map(walked, polygons))) == key(map(key, theirs(table)))
    assert len(polygons) == cv2.connectedComponents(table.astype(np.uint8), connectivity=8)[0] - 1
    for polygon in polygons:
        assert polygon.dtype == np.float32 and polygon.ndim == 2 and polygon.shape[0] >= 3 and polygon.shape[1] == 2
    filled = np.zeros(table.shape, np.uint8)
    for polygon in polygons:
        cv2.fillPoly(filled, [polygon.astype(np.int32)], 1)
    assert (filled >= table).all()


@settings(max_examples=250)
@given(st.integers(0, 2**32), st.tuples(st.integers(1, 30), st.integers(1, 30)), st.floats(0, 1), st.booleans())
def test_the_same_border_pixels_as_opencv(seed: int, size: tuple[int, int], share: float, blobs: bool) -> None:
    rng = np.random.default_rng(seed)
    if blobs:
        check(cv2.GaussianBlur(rng.standard_normal(size), (0, 0), 2) > (share - 0.5) / 5)
    else:
        check(rng.random(size) < share)


@pytest.mark.parametrize(
    "rows",
    [
        ["#"], ["##"], ["#", "#"], ["#.", ".#"], [".#", "#."], ["####"], ["##", "##"], ["###", "#.#", "###"],
        ["#####", "#...#", "#.#.#", "#...#", "#####"], ["#.#", ".#.", "#.#"], [".#.", "###", ".#."], ["..#", "###", "#.."],
        ["#..#", "####"], ["####", "#..#"], [".....", ".....", "....#"],
    ],
)  # fmt: skip
def test_shapes_that_trip_a_walker(rows: list[str]) -> None:
    check(np.array([[c == "#" for c in row] for row in rows]))


def test_a_solid_shape_keeps_its_corners_only_and_turns_clockwise() -> None:
    table = np.zeros((40, 50), bool)
    table[10:20, 5:45] = True
    (polygon,) = Mask.from_array(table).polygons()
    assert polygon.tolist() == [[5, 10], [44, 10], [44, 19], [5, 19]]


def test_dots_and_lines_repeat_their_last_point() -> None:
    table = np.zeros((5, 9), bool)
    table[1, 1] = table[3, 3:7] = True
    dot, line = Mask.from_array(table).polygons()
    assert dot.tolist() == [[1, 1]] * 3 and line.tolist() == [[3, 3], [6, 3], [6, 3]]


def test_an_empty_mask_has_no_contour() -> None:
    assert Mask.from_array(np.zeros((4, 4))).polygons() == []


def test_the_area_inside_the_corners_is_that_of_the_pixels() -> None:
    y, x = np.mgrid[:400, :600]
    table = ((x - 300) / 250) ** 2 + ((y - 200) / 150) ** 2 < 1
    mask = Mask.from_array(table)
    (polygon,) = mask.polygons()
    filled = cv2.fillPoly(np.zeros(table.shape, np.uint8), [polygon.astype(np.int32)], 1)
    assert int(filled.sum()) == mask.area
