"""Fuzz targets of the native core: hostile tensors, heads and frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from fuzz_targets import Prepared

KINDS = ("levels", "flat", "end2end")
STRIDES = ((8, 16, 32), (8,), (4, 8), (16, 32), (32,))


class Words:
    """Takes numbers from bytes; zero when they are used up."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        """The next bytes, filled up with zeros."""
        part = self.data[self.at : self.at + count]
        self.at += count
        return part.ljust(count, b"\0")

    def number(self, most: int) -> int:
        """A number from 0 to `most`."""
        return int.from_bytes(self.take(2), "little") % (most + 1)

    def floats(self, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Floats whose bits are the data, repeated; half the time small ones, so that candidates are finite."""
        mode, count = self.number(3), int(np.prod(shape))
        bits = np.frombuffer(self.take(32), np.uint8)
        values: Any = np.resize(bits.view(np.float32) if mode == 0 else bits.astype(np.float32) / 16 - 8, count)
        if mode == 3 and count:
            values[self.number(count - 1)] = np.frombuffer(self.take(4), np.float32)[0]
        return values.reshape(shape)


def decode(scratch: Path) -> Prepared:
    """Hostile outputs of hostile heads: an answer lies inside its picture, or there is an error in the tree."""
    import lineside.runtime as runtime

    def try_one(data: bytes) -> None:
        words = Words(data)
        head = runtime.HeadContract(
            kind=KINDS[words.number(2)],  # type: ignore[arg-type]
            classes=words.number(5),
            coefficients=words.number(4),
            input_size=(words.number(5) * 32, words.number(5) * 32 + (words.number(40) == 40)),
            strides=STRIDES[words.number(len(STRIDES) - 1)],
            reg_max=words.number(17),
        )
        image = (words.number(400), words.number(400)) if words.number(3) else (words.number(65535), words.number(9))
        box = runtime.Letterbox.fit(image, head.input_size)
        rows = words.number(300)
        outputs = [words.floats(tuple(rows if s is None else s for s in shape)) for shape in head.output_shapes()]
        options: dict[str, Any] = {
            "conf": words.number(110) / 100,
            "iou": words.number(110) / 100,
            "max_det": words.number(400),
            "masks": ("native", "proto", "none", "?")[words.number(3)],
            "agnostic": bool(words.number(1)),
        }
        if words.number(30) == 30:
            outputs[words.number(len(outputs) - 1)] = words.floats((words.number(3), words.number(9)))
        check(runtime.decode(outputs, head, box, **options), image)

    rng = np.random.default_rng(0)
    return try_one, [rng.integers(0, 256, 400, np.uint8).tobytes() for _ in range(20)]


def check(found: Any, image: tuple[int, int]) -> None:
    """What holds of every answer."""
    assert np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()
    assert (np.diff(found.scores) <= 0).all()
    assert (found.boxes >= 0).all() and (found.boxes <= (*image[::-1], *image[::-1])).all()
    for mask, box in list(zip(found.masks or (), found.boxes, strict=False))[:4]:
        x, y, table = mask.crop()
        height, width = table.shape
        assert mask.area == table.sum()
        if mask.area:
            assert box[0] <= x and x + width <= np.ceil(box[2]) and box[1] <= y and y + height <= np.ceil(box[3])
            assert type(mask).from_rle(mask.rle()).area == mask.area
            mask.polygons()


def frame(scratch: Path) -> Prepared:
    """Frames of any shape, dtype and strides: the input is filled, or there is an error in the tree."""
    from lineside.runtime.preprocess import Preprocessor

    dtypes = (np.uint8, np.uint8, np.uint8, np.int8, np.float32, np.bool_, np.dtype("S1"), np.dtype([("a", "u1")]))
    stages = [Preprocessor(size) for size in ((32, 32), (64, 32), (1, 7), (100, 36))]

    def try_one(data: bytes) -> None:
        words = Words(data)
        stage = stages[words.number(len(stages) - 1)]
        out = np.full((3, *stage.input_size), np.nan, np.float32)
        shape = tuple(words.number(90) for _ in range(words.number(1) + 2))
        if len(shape) == 3 and words.number(5):
            shape = (*shape[:2], 3)
        picture: Any = np.resize(np.frombuffer(words.take(64), np.uint8), shape).astype(dtypes[words.number(7)])
        for axis in range(picture.ndim):
            step = words.number(6) - 3 or 1
            picture = picture[(slice(None),) * axis + (slice(None, None, step),)]
        if words.number(3) == 3:
            picture = np.moveaxis(picture, 0, -1)
        if words.number(9) == 9:
            picture = np.broadcast_to(picture[:1], picture.shape)
        stage.prepare(picture, out)
        assert np.isfinite(out).all() and out.min() >= 0 and out.max() <= 1

    rng = np.random.default_rng(1)
    return try_one, [rng.integers(0, 256, 120, np.uint8).tobytes() for _ in range(20)]
