"""AutoFocus without a model: labels, chips, windows, and what is kept of the detections in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lineside.runtime.chips import component_boxes, cover_windows, dilated, focus_chips, grown, merged
from lineside.runtime.errors import BadOption
from lineside.runtime.focus import (
    FOCUS,
    IGNORED,
    NOTHING,
    FocusSizes,
    focus_labels,
    focus_scores,
    in_range,
    keep_whole,
    stacked,
)
from oracle import focus as oracle

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=14))


@st.composite
def boxes(draw: st.DrawFn, width: int = 400, height: int = 300, count: int = 12) -> np.ndarray:
    """``(N, 4)`` xyxy with quarter pixels, some of them beyond the picture."""
    corners = st.tuples(st.integers(-80, 4 * width), st.integers(-80, 4 * height))
    sides = st.tuples(st.integers(0, 700), st.integers(0, 700))
    found = draw(st.lists(st.tuples(corners, sides), max_size=count))
    table = [(x / 4, y / 4, (x + w) / 4, (y + h) / 4) for (x, y), (w, h) in found]
    return np.array(table, np.float64).reshape(-1, 4)


class TestLabels:
    @given(
        boxes(), st.sampled_from([8, 16, 32]), st.booleans(), st.sampled_from([(5, 64, 90), (0, 40, 40), (20, 50, 120)])
    )
    def test_every_cell_is_what_the_boxes_that_reach_it_say(
        self, found: np.ndarray, stride: int, last_wins: bool, sizes: tuple[float, float, float]
    ) -> None:
        grid = (300 // stride, 400 // stride)
        got = focus_labels(found, grid, FocusSizes(*sizes), stride, upstream_order=last_wins)
        assert got.dtype == np.int8
        assert np.array_equal(got, oracle.labels(found, grid, *sizes, stride, last_wins))

    def test_a_small_object_wins_over_an_ignored_one_whatever_the_order(self) -> None:
        small, middle = [100, 100, 130, 130], [80, 80, 150, 150]
        assert FocusSizes() == FocusSizes(5, 64, 90)
        for table in ([small, middle], [middle, small]):
            got = focus_labels(np.array(table), (20, 20))
            assert got[7, 7] == FOCUS and got[5, 5] == IGNORED and got[15, 15] == NOTHING
        assert focus_labels(np.array([small, middle]), (20, 20), upstream_order=True)[7, 7] == IGNORED

    @pytest.mark.parametrize(
        ("side", "label"),
        [(4, IGNORED), (5, IGNORED), (6, FOCUS), (63, FOCUS), (64, IGNORED), (89, IGNORED), (90, NOTHING)],
    )
    def test_limits_belong_to_the_larger_class_or_to_the_ignored(self, side: int, label: int) -> None:
        assert focus_labels(np.array([[200, 200, 200 + side, 200 + side]]), (40, 40))[13, 13] == label

    def test_sizes_shrink_with_a_small_input_and_stay_with_a_large_one(self) -> None:
        sizes = FocusSizes()
        assert sizes.at((640, 640)) == sizes.at((1080, 512)) == sizes
        assert sizes.at((160, 256)) == FocusSizes(2.5, 32, 45)
        assert sizes.at((160, 256), reference=0) == sizes

    @pytest.mark.parametrize("wrong", [(64, 5, 90), (5, 64, 60), (-1, 64, 90), (5, 5, 90), (5, 64, float("nan"))])
    def test_sizes_that_mean_nothing_are_refused(self, wrong: tuple[float, float, float]) -> None:
        with pytest.raises(BadOption, match="a < b <= c"):
            FocusSizes(*wrong)


class TestScores:
    @given(arrays(np.float32, (3, 4), elements=st.floats(-200, 200, width=32)))
    def test_a_logit_is_the_logarithm_of_the_odds(self, logits: np.ndarray) -> None:
        got = focus_scores(logits)
        assert got.dtype == np.float32 and got.shape == logits.shape
        exact = 1 / (1 + np.exp(-logits.astype(np.float64)))
        assert np.abs(got - exact).max() < 1e-6


class TestChips:
    @given(masks)
    def test_parts_are_what_flooding_finds(self, mask: np.ndarray) -> None:
        assert [tuple(box) for box in component_boxes(mask).tolist()] == oracle.parts(mask)

    @given(masks, st.integers(1, 5))
    def test_dilation_reaches_every_cell_near_enough(self, mask: np.ndarray, size: int) -> None:
        got = dilated(mask, size)
        near = np.zeros_like(mask)
        for y, x in np.argwhere(mask):
            near[max(0, y - (size - 1) // 2) : y + size // 2 + 1, max(0, x - (size - 1) // 2) : x + size // 2 + 1] = (
                True
            )
        assert np.array_equal(got, near)

    @given(
        arrays(
            np.float32,
            array_shapes(min_dims=2, max_dims=2, min_side=4, max_side=22),
            elements=st.floats(0, 1, width=32),
        ),
        st.sampled_from([0.5, 0.9, 0.97, 0.99]),
        st.integers(1, 4),
        st.integers(1, 12),
        st.sampled_from([8, 16]),
        st.sampled_from([1.0, 0.32, 0.7]),
        st.integers(0, 15),
    )
    def test_chips_are_those_of_the_painted_mask(
        self, scores: np.ndarray, threshold: float, dilation: int, least: int, stride: int, scale: float, cut: int
    ) -> None:
        size = (scores.shape[0] * stride - cut % stride, scores.shape[1] * stride - cut % stride)
        got = focus_chips(
            scores, threshold=threshold, dilation=dilation, least=least, stride=stride, input_size=size, scale=scale
        )
        want = oracle.chips(scores, threshold, dilation, least, stride, size, scale)
        assert got.shape == (len(want), 4)
        assert np.allclose(got, np.array(want).reshape(-1, 4), rtol=0, atol=1e-9)

    @given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, min_side=4, max_side=30), elements=st.floats(0, 1, width=32)),
           st.floats(0.5, 1), st.integers(1, 16))  # fmt: skip
    def test_every_focus_pixel_is_in_one_chip_that_is_inside_the_picture_and_long_enough(
        self, scores: np.ndarray, threshold: float, least: int
    ) -> None:
        chips = focus_chips(scores, threshold=threshold, least=least)
        height, width = scores.shape[0] * 16, scores.shape[1] * 16
        assert (chips >= 0).all() and (chips <= [width, height, width, height]).all()
        sides = chips[:, 2:] - chips[:, :2]
        assert (sides >= np.minimum(least * 16, [width, height])).all()
        covered = np.zeros(scores.shape, int)
        for x1, y1, x2, y2 in (chips / 16).astype(int).tolist():
            covered[y1:y2, x1:x2] += 1
        assert covered.max(initial=0) <= 1
        assert (covered[scores >= np.float32(threshold)] == 1).all()

    @given(masks, st.integers(1, 8))
    def test_what_is_merged_stays_as_it_is(self, mask: np.ndarray, least: int) -> None:
        once = merged(grown(component_boxes(mask), least, mask.shape))
        assert np.array_equal(merged(once), once)
        assert np.array_equal(merged(grown(once, least, mask.shape)), once)
        again = np.zeros_like(mask)
        for x1, y1, x2, y2 in once.tolist():
            again[y1:y2, x1:x2] = True
        assert np.array_equal(component_boxes(again), once)

    def test_a_map_without_focus_has_no_chips(self) -> None:
        assert focus_chips(np.zeros((5, 7), np.float32), threshold=0.2).shape == (0, 4)
        assert merged(np.zeros((0, 4))).shape == (0, 4)

    def test_a_score_on_the_threshold_is_a_focus_pixel(self) -> None:
        scores = np.zeros((9, 9), np.float32)
        scores[4, 4] = np.float32(0.2)
        assert focus_chips(scores, threshold=0.2, least=1).tolist() == [[48, 48, 96, 96]]

    def test_a_dilation_without_cells_is_refused(self) -> None:
        with pytest.raises(BadOption, match="at least 1"):
            dilated(np.zeros((2, 2), bool), 0)


class TestWindows:
    @given(boxes(), st.tuples(st.integers(20, 330), st.integers(20, 430)))
    def test_windows_of_one_size_cover_every_box_inside_the_picture(
        self, found: np.ndarray, window: tuple[int, int]
    ) -> None:
        got = cover_windows(found, (300, 400), window)
        size = [min(window[1], 400), min(window[0], 300)]
        assert (got[:, 2:] - got[:, :2] == size).all()
        assert (got >= 0).all() and (got[:, 2:] <= [400, 300]).all()
        covered = np.zeros((300, 400), bool)
        for x1, y1, x2, y2 in got.tolist():
            covered[y1:y2, x1:x2] = True
        for x1, y1, x2, y2 in found.tolist():
            x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, 400), min(y2, 300)
            if x2 <= x1 or y2 <= y1:
                continue
            assert covered[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))].all()
            if np.ceil(x2) - int(x1) <= size[0] and np.ceil(y2) - int(y1) <= size[1]:
                assert any(w[0] <= x1 and w[1] <= y1 and w[2] >= x2 and w[3] >= y2 for w in got.tolist())

    @given(boxes())
    def test_boxes_that_fit_need_no_more_windows_than_there_are(self, found: np.ndarray) -> None:
        assert len(cover_windows(found, (300, 400), (220, 220))) <= len(found)

    def test_neighbours_share_a_window_and_a_large_box_is_tiled(self) -> None:
        near = np.array([[100, 100, 120, 120], [150, 130, 170, 150], [900, 700, 920, 720]])
        assert len(cover_windows(near, (1200, 1600), (640, 640))) == 2
        tiles = cover_windows(np.array([[10, 10, 1310, 100]]), (1200, 1600), (640, 640))
        assert tiles[:, 0].tolist() == [10, 340, 670] and len(set(tiles[:, 1])) == 1

    def test_a_picture_smaller_than_the_window_is_one_window(self) -> None:
        assert cover_windows(np.array([[5, 5, 9, 9]]), (300, 400), (640, 640)).tolist() == [[0, 0, 400, 300]]
        assert cover_windows(np.zeros((0, 4)), (300, 400), (640, 640)).shape == (0, 4)


class TestStacking:
    @given(boxes(count=20), boxes(count=4), st.integers(0, 30), st.randoms(use_true_random=False))
    def test_what_a_chip_cuts_is_dropped(self, found: np.ndarray, chips: np.ndarray, delta: int, random) -> None:  # type: ignore[no-untyped-def]
        chips = np.concatenate([np.clip(chips, 0, [400, 300, 400, 300]), [[0, 0, 400, 300]]])
        index = np.array([random.randrange(len(chips)) for _ in found], np.int64)
        got = keep_whole(found, chips, index, (300, 400), delta)
        want = [
            oracle.keeps(box, chips[i].tolist(), (300, 400), delta)
            for box, i in zip(found.tolist(), index, strict=True)
        ]
        assert got.tolist() == want

    def test_a_side_on_the_border_of_the_picture_cuts_nothing(self) -> None:
        chips = np.array([[0, 0, 200, 200]])
        found = np.array([[0, 0, 50, 50], [0, 150, 50, 195], [0, 150, 50, 190]])
        index = np.zeros(3, np.int64)
        assert keep_whole(found, chips, index, (600, 600)).tolist() == [True, False, True]
        assert keep_whole(found, chips, index, (200, 200)).all()

    @given(boxes(), st.sampled_from([1.0, 2.0, 0.5, 3.2]))
    def test_boxes_of_enlarged_chips_come_back_to_the_picture(self, found: np.ndarray, zoom: float) -> None:
        chips = np.array([[0, 0, 100, 100], [37, 12.5, 90, 80]])
        index = np.arange(len(found)) % 2
        inside = (found - chips[index][:, [0, 1, 0, 1]]) * zoom
        back = stacked(inside, chips, index, zoom)
        assert back.dtype == np.float32 and np.allclose(back, found, atol=1e-3)

    def test_ranges_leave_out_their_lower_end_and_take_in_their_upper_end(self) -> None:
        found = np.array([[0, 0, 32, 32], [0, 0, 32.5, 32], [0, 0, 180, 180], [0, 0, 181, 180]])
        assert in_range(found, 32, 180).tolist() == [False, True, True, False]
        assert in_range(found).all()
