"""Prints a hash of the bits of every answer of the installed runtime: two machines agree when they print the same.

Frames and outputs come from whole numbers out of numpy's generator, which every machine draws alike, and from the
golden files of the demo bundles. No engine takes part: a convolution may add up in another order elsewhere.
Run from the root of the checkout by ``scripts/arm64_root.sh`` on both machines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import lineside
from lineside.runtime.bundle import list_golden, open_bundle
from lineside.runtime.contract import HeadContract
from lineside.runtime.geometry import Letterbox
from lineside.runtime.golden import read_golden
from lineside.runtime.postprocess import decode
from lineside.runtime.preprocess import Preprocessor
from lineside.runtime.yuv import Yuv

PICTURES = ((1080, 1920), (2048, 2448), (480, 640), (37, 901), (3, 5), (700, 701))
INPUTS = ((640, 640), (320, 512))


def digest(*arrays: npt.NDArray[Any] | str) -> str:
    """Short hash over dtype, shape and bytes of arrays."""
    total = hashlib.sha256()
    for array in arrays:
        if isinstance(array, str):
            total.update(array.encode())
        else:
            total.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]


def letterboxes() -> Iterator[str]:
    """Frames of several sizes, in colour and grey, into two inputs."""
    rng = np.random.default_rng(1)
    for size in PICTURES:
        for into in INPUTS:
            for channels in ((3,), ()):
                frame = rng.integers(0, 256, (*size, *channels), dtype=np.uint8)
                out = np.zeros((3, *into), np.float32)
                Preprocessor(into).prepare(frame, out)
                yield f"letterbox {frame.shape} into {into}: {digest(out)}"


def yuv_pictures() -> Iterator[str]:
    """Luma and chroma of several sizes in both formats, as pixels and into an input."""
    rng = np.random.default_rng(3)
    kinds: tuple[Any, ...] = (("NV12", "bt601", "limited"), ("I420", "bt709", "limited"), ("NV12", "bt709", "full"))
    for height, width in PICTURES:
        for kind, matrix, span in kinds:
            count = height * width + 2 * ((height + 1) // 2) * ((width + 1) // 2)
            memory = rng.integers(0, 256, count, dtype=np.uint8)
            picture = Yuv.from_buffer(memory, kind, (height, width), matrix=matrix, range=span)
            out = np.zeros((3, *INPUTS[0]), np.float32)
            Preprocessor(INPUTS[0]).prepare(picture, out)
            yield f"{picture}: {digest(picture.to_bgr())} {digest(out)}"


def numbers(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> npt.NDArray[np.float32]:
    """Float32 values between two bounds, exact multiples of 2^-10."""
    return (rng.integers(int(low * 1024), int(high * 1024), shape) / 1024).astype(np.float32)


def outputs_of(rng: np.random.Generator, head: HeadContract) -> list[npt.NDArray[np.float32]]:
    """Raw outputs with some detections: every tensor of the contract, class scores rarely high."""
    h, w = head.input_size
    found = []
    for name, shape in zip(head.output_names, head.output_shapes(), strict=True):
        sides = tuple(40 if side is None else side for side in shape)
        array = numbers(rng, sides, -4, 4)
        if name.startswith("cls"):
            array = numbers(rng, sides, -9, 0.4)
        elif head.kind == "flat" and name != "protos":
            array[0, 0], array[0, 1] = numbers(rng, sides[2:], 0, w), numbers(rng, sides[2:], 0, h)
            array[0, 2:4] = numbers(rng, (2, sides[2]), 8, 200)
            array[0, 4 : 4 + head.classes] = numbers(rng, (head.classes, sides[2]), 0, 0.27)
        elif head.kind == "end2end" and name != "protos":
            array[0, :, :2] = numbers(rng, (sides[1], 2), 0, min(h, w) / 2)
            array[0, :, 2:4] = array[0, :, :2] + numbers(rng, (sides[1], 2), 8, 200)
            array[0, :, 4] = numbers(rng, sides[1:2], 0, 1)
            array[0, :, 5] = rng.integers(0, head.classes, sides[1])
        found.append(array)
    return found


def found_in(outputs: list[npt.NDArray[Any]], head: HeadContract, size: tuple[int, int], **options: Any) -> str:
    """Number of detections, and the hash of all that they are: boxes, scores, masks, polygons, run lengths."""
    found = decode(outputs, head, Letterbox.fit(size, head.input_size), **options)
    parts: list[npt.NDArray[Any] | str] = [found.boxes, found.scores, found.classes, found.anchors]
    for mask in found.masks or ():
        parts += [mask.spans, str(mask.area), mask.rle()["counts"], *mask.polygons()]
    return f"{len(found)} {digest(*parts)}"


def decodes() -> Iterator[str]:
    """Every kind of head, with masks of both resolutions, few and many classes."""
    rng = np.random.default_rng(2)
    kinds: tuple[Any, ...] = ("levels", "flat", "end2end")
    for kind in kinds:
        for classes, reg_max in ((1, 16), (80, 16), (3, 1)):
            head = HeadContract(kind=kind, classes=classes, coefficients=32, input_size=(320, 512), reg_max=reg_max)
            outputs = outputs_of(rng, head)
            for size in ((1080, 1920), (37, 901)):
                for masks in ("native", "proto"):
                    answer = found_in(list(outputs), head, size, masks=masks, max_det=100)
                    yield f"{kind} {classes} classes {masks} {size}: {answer}"


def goldens(demo: Path) -> Iterator[str]:
    """The recorded outputs of the demo bundles, decoded."""
    for folder in sorted(demo.glob("*.bundle")):
        bundle = open_bundle(folder)
        head = bundle.manifest.head
        for name in list_golden(bundle):
            golden = read_golden(bundle, name)
            if golden.outputs:
                outputs = [golden.outputs[output] for output in head.output_names]
                yield f"{folder.name} {name}: {found_in(outputs, head, golden.image_size, conf=golden.conf, iou=golden.iou)}"


def main() -> None:
    """All of it, a line each."""
    assert lineside.__version__
    for part in (letterboxes(), yuv_pictures(), decodes(), goldens(Path("demo"))):
        for line in part:
            print(line)


if __name__ == "__main__":
    main()
