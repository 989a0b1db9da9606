"""The drawing: masks tinted where they are, nothing elsewhere, the frame untouched."""

from __future__ import annotations

import numpy as np
import pytest

from lineside.pipelines.overlay import PALETTE, Overlay, colour
from lineside.runtime.detections import Detections


def test_masks_are_tinted_and_the_rest_stays(looked) -> None:
    frame = looked(size=(400, 400))
    before = frame.pixels.copy()
    found = frame.detections[0]
    drawn = Overlay().draw(frame.pixels, found)
    np.testing.assert_array_equal(frame.pixels, before)
    mask = found.masks[0].to_array()
    inside = mask.copy()
    for axis in (0, 1):  # Without the outline.
        for shift in range(-3, 4):
            inside &= np.roll(mask, shift, axis)
    tint = np.rint(before[inside] * 0.58 + np.array(colour(int(found.classes[0]))) * 0.42)
    assert np.abs(drawn[inside] - tint).max() <= 1
    x0, y0, x1, y1 = found.boxes[0].round().astype(int)
    outside = np.ones(before.shape[:2], bool)
    outside[max(0, y0 - 30) : y1 + 30, max(0, x0 - 5) : x1 + 5] = False
    outside[:, x0 : x0 + 150] = False  # The label.
    np.testing.assert_array_equal(drawn[outside], before[outside])


def test_grey_frames_and_frames_without_anything(looked) -> None:
    overlay = Overlay()
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    drawn = overlay.draw(grey, None)
    assert drawn.shape == (4, 5, 3)
    np.testing.assert_array_equal(drawn, grey[..., None].repeat(3, -1))
    frame = looked()
    np.testing.assert_array_equal(overlay.draw(frame.pixels, frame.detections[:0]), frame.pixels)


def test_the_canvas_is_used_again_and_may_change_size(looked) -> None:
    overlay = Overlay()
    first = overlay.draw(looked().pixels, None)
    assert overlay.draw(looked(seed=1).pixels, None) is first
    assert overlay.draw(looked(size=(90, 90)).pixels, None).shape == (90, 90, 3)


@pytest.mark.parametrize("box", [(0, 0, 5, 5), (-0.0, 0, 30, 20), (28, 18, 30, 20), (0, 0, 0, 0)])
@pytest.mark.parametrize("name", ["a", "缺陷", "x" * 300, "", "%s\n"])
def test_labels_that_do_not_fit_are_drawn_all_the_same(box: tuple[float, ...], name: str) -> None:
    found = Detections(
        boxes=np.array([box], np.float32),
        scores=np.array([0.5], np.float32),
        classes=np.array([0], np.int32),
        anchors=np.array([0], np.int32),
        masks=None,
        names=(name,),
        image_size=(20, 30),
    )
    drawn = Overlay().draw(np.zeros((20, 30, 3), np.uint8), found)
    assert drawn.shape == (20, 30, 3) and drawn.any()


def test_colours_go_round() -> None:
    assert len(set(PALETTE)) == len(PALETTE) == 10
    assert colour(3) == colour(13) != colour(4)
