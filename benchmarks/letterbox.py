"""From a camera frame to the input tensor: the native core beside OpenCV, one thread each.

Frames are BGR, and NV12 and I420 as decoders give them: those our core takes as they are, OpenCV makes BGR of them first.
Frames take turns, as a camera's do, so that none is still in the first caches when its turn comes again. The peers use
OpenCV's default ``INTER_LINEAR``, which is its fastest; how far their tensors differ from ours is reported.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from measure import Load, free_openblas, interleaved

INPUT = (640, 640)
IMAGES = {"1080p": (1080, 1920), "5 MP": (2048, 2448)}
FRAMES = 8
OURS = "lineside"
PEER = "cv2 resize, copyMakeBorder, blobFromImage"
REUSING = "cv2 resize and numpy into kept arrays"
YUV_PEER = "cv2 cvtColor, resize, copyMakeBorder, blobFromImage"
THROUGH_BGR = "lineside, the whole picture made BGR first"
CODES = {"NV12": "COLOR_YUV2BGR_NV12", "I420": "COLOR_YUV2BGR_I420"}
TARGETS = {"1080p": 5.0, "5 MP": 2.0}
"""How many times faster than the peer the native core is meant to be."""


def free_large_blocks() -> None:
    """Lets the allocator keep large blocks from here on.

    The peer allocates its result anew each time, and shall not pay for pages that the system maps and clears.
    """
    import numpy as np

    block = np.ones(30 << 20, np.uint8)
    del block


def ours() -> Callable[[Any], Any]:
    """The runtime's own way, its input buffer kept from frame to frame."""
    import numpy as np

    from lineside.runtime.preprocess import Preprocessor

    stage, out = Preprocessor(INPUT), np.empty((3, *INPUT), np.float32)

    def run(frame: Any) -> Any:
        stage.prepare(frame, out)
        return out

    return run


def window(image: tuple[int, int]) -> tuple[int, int, int, int, int, int]:
    """Width and height of the content, and the padding above, below, left and right of it."""
    scale = min(INPUT[1] / image[1], INPUT[0] / image[0])
    width, height = round(image[1] * scale), round(image[0] * scale)
    top, left = (INPUT[0] - height) // 2, (INPUT[1] - width) // 2
    return width, height, top, INPUT[0] - height - top, left, INPUT[1] - width - left


def peer(image: tuple[int, int]) -> Callable[[Any], Any]:
    """The three calls that most programs make."""
    import cv2

    width, height, top, bottom, left, right = window(image)
    grey = (114, 114, 114)

    def run(frame: Any) -> Any:
        content = cv2.resize(frame, (width, height))
        padded = cv2.copyMakeBorder(content, top, bottom, left, right, cv2.BORDER_CONSTANT, value=grey)
        return cv2.dnn.blobFromImage(padded, 1 / 255, swapRB=True)[0]

    return run


def reusing(image: tuple[int, int]) -> Callable[[Any], Any]:
    """The same with every array kept: the fastest that we found with OpenCV and numpy."""
    import cv2
    import numpy as np

    width, height, top, _, left, _ = window(image)
    content = np.empty((height, width, 3), np.uint8)
    out = np.full((3, *INPUT), np.float32(114 / 255))
    inside = out[:, top : top + height, left : left + width]

    def run(frame: Any) -> Any:
        cv2.resize(frame, (width, height), dst=content)
        np.multiply(content[..., ::-1].transpose(2, 0, 1), np.float32(1 / 255), out=inside)
        return out

    return run


def ours_yuv(image: tuple[int, int], kind: Any) -> Callable[[Any], Any]:
    """The runtime's own way with luma and chroma: wrapped and prepared, never a whole picture of BGR."""
    from lineside.runtime.yuv import Yuv

    prepare = ours()
    return lambda memory: prepare(Yuv.from_buffer(memory, kind, image))


def through_bgr(image: tuple[int, int], kind: Any) -> Callable[[Any], Any]:
    """Our conversion of the whole picture into a kept array, then our letterbox: what skipping rows saves."""
    import numpy as np

    from lineside.runtime.yuv import Yuv

    prepare, pixels = ours(), np.empty((*image, 3), np.uint8)
    return lambda memory: prepare(Yuv.from_buffer(memory, kind, image).to_bgr(pixels))


def peer_yuv(image: tuple[int, int], kind: Any) -> Callable[[Any], Any]:
    """OpenCV's conversion into a kept array, then the three calls."""
    import cv2
    import numpy as np

    code, pixels, run = getattr(cv2, CODES[kind]), np.empty((*image, 3), np.uint8), peer(image)
    return lambda memory: run(cv2.cvtColor(memory, code, dst=pixels))


def turning(run: Callable[[Any], Any], frames: list[Any], start: int) -> Callable[[], Any]:
    """A call that takes the next frame each time."""
    turn = itertools.cycle(frames[start:] + frames[:start])
    return lambda: run(next(turn))


def difference(mine: Any, theirs: Any) -> dict[str, float]:
    """How far a peer's tensor is from ours, in steps of one pixel value."""
    import numpy as np

    steps = np.rint(np.abs(mine - theirs) * 255)
    return {"most": float(steps.max()), "share_different": round(float((steps > 0).mean()), 4)}


def compared(ways: dict[str, Callable[[Any], Any]], frames: list[Any], rounds: int) -> dict[str, Any]:
    """Times of ways on the same frames: in ms, as the median of the rounds' ratios to ours, and how far tensors differ."""
    mine = ways[OURS](frames[0]).copy()
    calls = {way: turning(run, frames, i * FRAMES // len(ways)) for i, (way, run) in enumerate(ways.items())}
    turns = interleaved(calls, rounds=rounds, seconds=20)
    others = [way for way in ways if way != OURS]
    return {
        "ms": {way: value.as_dict() for way, value in turns.times().items()},
        "ratio": {way: round(turns.gain(way, OURS), 2) for way in others},
        "difference": {way: difference(mine, ways[way](frames[0])) for way in others},
    }


def noise(shape: tuple[int, ...]) -> list[Any]:
    """Frames that nobody can guess."""
    import numpy as np

    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(FRAMES)]


def measure(rounds: int = 60) -> dict[str, Any]:
    """Times of the native letterbox and its peers on 1080p and 5 MP frames.

    Args:
        rounds: Interleaved rounds.

    Returns:
        By picture size, and for luma and chroma by size and format: see `compared`; and the share of the machine that
        others used.
    """
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    free_large_blocks()
    load = Load()
    result: dict[str, Any] = {"input": INPUT, "threads": 1, "frames": FRAMES, "images": {}, "yuv": {}}
    try:
        for name, image in IMAGES.items():
            ways = {OURS: ours(), PEER: peer(image), REUSING: reusing(image)}
            result["images"][name] = {"size": image, **compared(ways, noise((*image, 3)), rounds)}
            memory = noise((image[0] * 3 // 2, image[1]))
            for kind in CODES:
                ways = {
                    OURS: ours_yuv(image, kind),
                    YUV_PEER: peer_yuv(image, kind),
                    THROUGH_BGR: through_bgr(image, kind),
                }
                result["yuv"][f"{name} {kind}"] = {"size": image, **compared(ways, memory, rounds)}
    finally:
        cv2.setNumThreads(threads)
    result["foreign_cpu"] = round(load.foreign(), 3)
    return result


def table(result: dict[str, Any]) -> str:
    """The figures for people: median, best and how many times slower than ours."""
    lines = [f"{'letterbox to 640x640, ms':48} {'median':>8} {'best':>8} {'ratio':>7} {'target':>7}"]
    for name, image in {**result["images"], **result["yuv"]}.items():
        for way, ms in image["ms"].items():
            ratio = image["ratio"].get(way, 1.0)
            target = f"{TARGETS[name]:.0f}" if way == PEER else ""
            lines.append(f"{name + '  ' + way:48.48} {ms['median']:8.3f} {ms['best']:8.3f} {ratio:7.2f} {target:>7}")
    lines.append(f"share of the machine that others used: {result['foreign_cpu']:.0%}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    result = measure(options.rounds)
    print(table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    free_openblas()
    main()
