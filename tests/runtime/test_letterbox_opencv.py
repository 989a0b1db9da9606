"""The letterbox against OpenCV, bit for bit: the input contract names INTER_LINEAR_EXACT."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lineside.runtime.geometry import Letterbox
from lineside.runtime.preprocess import Preprocessor

cv2 = pytest.importorskip("cv2")

INPUTS = [(256, 256), (320, 320), (512, 512), (640, 640), (384, 640), (640, 352), (100, 300)]
Size = tuple[int, int]


def opencv(frame: npt.NDArray[np.uint8], box: Letterbox) -> npt.NDArray[np.float32]:
    (height, width), (left, top) = box.content_size, box.pad
    below, right = box.input_size[0] - top - height, box.input_size[1] - left - width
    content = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    padded = cv2.copyMakeBorder(content, top, below, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    result: Any = padded[..., ::-1].transpose(2, 0, 1) * np.float32(1 / 255)
    return np.asarray(result, np.float32)


def same(image_size: Size, stage: Preprocessor, seed: int) -> bool:
    frame = np.random.default_rng(seed).integers(0, 256, (*image_size, 3), dtype=np.uint8)
    out = np.full((3, *stage.input_size), np.nan, np.float32)
    box = stage.prepare(frame, out)
    return np.array_equal(out, opencv(frame, box))


@pytest.mark.parametrize("input_size", INPUTS, ids=str)
def test_equal_to_opencv_on_random_sizes(input_size: Size) -> None:
    """490 sizes in all: half of them up to 700, so that many are enlarged, half up to 1800."""
    chance = np.random.default_rng(input_size[0] * 1000 + input_size[1])
    stage = Preprocessor(input_size)
    sizes = [tuple(int(side) for side in chance.integers(1, 700 if i % 2 else 1800, 2)) for i in range(70)]
    assert [size for i, size in enumerate(sizes) if not same((size[0], size[1]), stage, i)] == []


@pytest.mark.parametrize(
    ("input_side", "image_sides"), [(256, (257, 301, 515, 767, 999, 1537)), (512, (514, 602, 770, 1030, 1534, 1998))]
)
def test_equal_to_opencv_where_weights_are_ties(input_side: int, image_sides: tuple[int, ...]) -> None:
    """Weights halfway between two 256ths: ``(d + 0.5) * src / dst`` meets them for odd multiples of ``dst / 256``."""
    stage = Preprocessor((input_side, input_side))
    for side in image_sides:
        weights = ((np.arange(input_side) + 0.5) * side / input_side - 0.5) * 256
        assert (weights % 1 == 0.5).sum() > 50
        assert same((side, side), stage, side), side


@pytest.mark.parametrize(
    "image_size",
    [
        (1, 1),
        (1, 640),
        (640, 1),
        (1, 5000),
        (5000, 1),
        (2, 2),
        (2, 700),
        (717, 1283),
        (1080, 1920),
        (2048, 2448),
        (3648, 5472),
    ],
    ids=str,
)
def test_equal_to_opencv_from_one_pixel_to_twenty_million(image_size: Size) -> None:
    for input_size in INPUTS:
        assert same(image_size, Preprocessor(input_size), 0), input_size
