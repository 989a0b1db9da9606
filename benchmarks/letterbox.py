"""From a camera frame to the input tensor: the native core beside OpenCV, one thread each.

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


def turning(run: Callable[[Any], Any], frames: list[Any], start: int) -> Callable[[], Any]:
    """A call that takes the next frame each time."""
    turn = itertools.cycle(frames[start:] + frames[:start])
    return lambda: run(next(turn))


def difference(mine: Any, theirs: Any) -> dict[str, float]:
    """How far a peer's tensor is from ours, in steps of one pixel value."""
    import numpy as np

    steps = np.rint(np.abs(mine - theirs) * 255)
    return {"most": float(steps.max()), "share_different": round(float((steps > 0).mean()), 4)}


def measure(rounds: int = 60) -> dict[str, Any]:
    """Times of the native letterbox and its peers on 1080p and 5 MP frames.

    Args:
        rounds: Interleaved rounds.

    Returns:
        By picture size: times in ms, the median of the rounds' ratios (peer over ours), and how far the tensors differ; and
        the share of the machine that others used.
    """
    import cv2
    import numpy as np

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    free_large_blocks()
    load = Load()
    result: dict[str, Any] = {"input": INPUT, "threads": 1, "frames": FRAMES, "images": {}}
    try:
        for name, image in IMAGES.items():
            rng = np.random.default_rng(0)
            frames = [rng.integers(0, 256, (*image, 3), dtype=np.uint8) for _ in range(FRAMES)]
            ways = {OURS: ours(), PEER: peer(image), REUSING: reusing(image)}
            mine = ways[OURS](frames[0]).copy()
            calls = {way: turning(run, frames, i * FRAMES // len(ways)) for i, (way, run) in enumerate(ways.items())}
            turns = interleaved(calls, rounds=rounds, seconds=20)
            result["images"][name] = {
                "size": image,
                "ms": {way: value.as_dict() for way, value in turns.times().items()},
                "ratio": {way: round(turns.gain(way, OURS), 2) for way in (PEER, REUSING)},
                "difference": {way: difference(mine, ways[way](frames[0])) for way in (PEER, REUSING)},
            }
    finally:
        cv2.setNumThreads(threads)
    result["foreign_cpu"] = round(load.foreign(), 3)
    return result


def table(result: dict[str, Any]) -> str:
    """The figures for people: median, best and how many times slower than ours."""
    lines = [f"{'letterbox to 640x640, ms':48} {'median':>8} {'best':>8} {'ratio':>7} {'target':>7}"]
    for name, image in result["images"].items():
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
