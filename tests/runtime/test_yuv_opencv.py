"""Luma and chroma against OpenCV, bit for bit: the rule of BT.601 with limited range is the one of ``cv2.cvtColor``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lineside.runtime.geometry import Letterbox
from lineside.runtime.preprocess import Preprocessor
from lineside.runtime.yuv import Yuv

cv2 = pytest.importorskip("cv2")

Bytes = npt.NDArray[np.uint8]
CODES = {"NV12": "COLOR_YUV2BGR_NV12", "I420": "COLOR_YUV2BGR_I420"}


def converted(memory: Bytes, kind: str) -> Bytes:
    """BGR by OpenCV, from the planes in one array (H * 3 / 2, W)."""
    found: Any = cv2.cvtColor(memory, getattr(cv2, CODES[kind]))
    return np.asarray(found, np.uint8)


@pytest.mark.parametrize("kind", ["NV12", "I420"])
def test_every_luma_with_every_chroma(kind: Any) -> None:
    """All 2^24 colours: each pair of U and V has 64 squares, which hold each luma once."""
    u, v = (np.repeat(np.repeat(plane, 8, 0), 8, 1) for plane in np.indices((256, 256), np.uint8))
    luma = np.tile(np.arange(256, dtype=np.uint8).reshape(16, 16), (256, 256))
    memory = np.empty((4096 * 3 // 2, 4096), np.uint8)
    memory[:4096] = luma
    memory[4096:] = (np.stack([u, v], -1) if kind == "NV12" else np.stack([u, v])).reshape(2048, 4096)
    assert np.array_equal(Yuv.from_buffer(memory, kind, (4096, 4096)).to_bgr(), converted(memory, kind))


@pytest.mark.parametrize("size", [(1080, 1920), (2048, 2448), (480, 640), (718, 1282), (2, 2), (2, 3000)], ids=str)
@pytest.mark.parametrize("kind", ["NV12", "I420"])
def test_the_letterbox_of_opencvs_picture(kind: Any, size: tuple[int, int]) -> None:
    """Its conversion of the whole picture and then its exact resampling give the content of our input."""
    memory = np.random.default_rng(0).integers(0, 256, (size[0] * 3 // 2, size[1]), dtype=np.uint8)
    out = np.full((3, 640, 640), np.nan, np.float32)
    box = Preprocessor((640, 640)).prepare(Yuv.from_buffer(memory, kind, size), out)
    assert box == Letterbox.fit(size, (640, 640))
    (height, width), (left, top) = box.content_size, box.pad
    wanted: Any = cv2.resize(converted(memory, kind), (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    content = out[:, top : top + height, left : left + width]
    assert np.array_equal(content, wanted[..., ::-1].transpose(2, 0, 1) * np.float32(1 / 255))
