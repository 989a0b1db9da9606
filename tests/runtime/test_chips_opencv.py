"""Dilation and parts of a mask against OpenCV."""

from __future__ import annotations

import numpy as np
import pytest

from lineside.runtime.chips import component_boxes, dilated

cv2 = pytest.importorskip("cv2")


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8])
def test_dilation_is_that_of_opencv(size: int) -> None:
    generator = np.random.default_rng(size)
    for share in (0.02, 0.2, 0.6):
        mask = generator.random((23, 31)) < share
        want = cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8))
        assert np.array_equal(dilated(mask, size), want.astype(bool))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.5, 0.8, 1.0])
def test_parts_are_those_of_opencv(share: float) -> None:
    generator = np.random.default_rng(7)
    for shape in ((1, 1), (1, 40), (40, 1), (37, 53), (90, 120)):
        mask = generator.random(shape) < share
        _, _, found, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        want = sorted((x, y, x + w, y + h) for x, y, w, h, _ in found[1:].tolist())
        assert [tuple(box) for box in component_boxes(mask).tolist()] == want
