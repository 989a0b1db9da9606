"""Whole frames on the device beside the native core: every kind and size of picture, boxes and masks as they come back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from lineside.runtime.detections import Detections
from lineside.runtime.lane import CpuLane
from lineside.runtime.segmenter import Segmenter
from lineside.runtime.selftest.findings import Finding, Line, checked, failed, unchecked
from lineside.runtime.selftest.subject import Subject
from lineside.runtime.yuv import Picture, Yuv

__all__ = ["check", "compare", "pictures"]

SIZES = ((0, 0), (480, 640), (1080, 1920), (719, 1279))
"""Heights and widths; 0 stands for the model's own input."""

BOX_PX, SCORE, IOU = 0.01, 1e-4, 0.999
"""How far a frame may be from the native core's: greatest differences of a box side and of a score, least mask IoU."""


def pictures(subject: Subject) -> Iterator[tuple[str, Picture]]:
    """Pictures to compare on, each with a name: several sizes, grey, NV12, and rows that do not follow each other."""
    own = subject.bundle.manifest.input.size
    for number, size in enumerate(SIZES):
        size = size if all(size) else own
        yield f"BGR {size[1]}x{size[0]}", subject.frame(size, number)
    bgr = subject.frame((480, 640))
    yield "grey 640x480", np.ascontiguousarray(bgr.mean(axis=2).astype(np.uint8))
    yield "BGR with a stride", np.repeat(bgr, 2, axis=1)[:, ::2]
    yield "NV12 640x480", _nv12(bgr)


def check(subject: Subject) -> Iterator[Finding]:
    """Detections of whole frames beside those of the native core, which decodes what the same engine puts out.

    So the precision of the engine does not count here: letterbox, decoding, suppression and masks must be the same.
    """
    manifest = subject.bundle.manifest
    found = 0
    with Segmenter(manifest, [CpuLane(subject.runner(), manifest)], "native core") as reference:
        for name, picture in pictures(subject):
            mine, theirs = subject.model(picture), reference(picture)
            found += len(theirs)
            yield compare(name, mine, theirs, manifest.thresholds.conf, BOX_PX, SCORE, IOU)
    if not found:
        yield unchecked("frames with something on them", "the model finds nothing on its own golden pictures")


def compare(
    name: str, mine: Detections, theirs: Detections, conf: float, box_px: float, score: float, iou: float
) -> Line:
    """One picture's detections beside others.

    Scores near the threshold may fall on either side of it: what one side alone has is forgiven when its score is within
    the limit of the threshold.

    Args:
        name: What the line is called.
        mine: Of the device.
        theirs: Of the processor.
        conf: Threshold of both.
        box_px: Greatest difference of a box side, picture px.
        score: Greatest difference of a score.
        iou: Least IoU of a pair of masks.
    """
    pairs = _pairs(mine, theirs)
    alone = [s for i, s in enumerate(mine.scores.tolist()) if i not in {a for a, _ in pairs}]
    alone += [s for i, s in enumerate(theirs.scores.tolist()) if i not in {b for _, b in pairs}]
    beyond = [value for value in alone if value > conf + score]
    box = max((float(np.abs(mine.boxes[a] - theirs.boxes[b]).max()) for a, b in pairs), default=0.0)
    apart = max((abs(float(mine.scores[a]) - float(theirs.scores[b])) for a, b in pairs), default=0.0)
    overlap = _overlap(mine, theirs, pairs)
    figures = {"found": len(mine), "expected": len(theirs), "box_px": box, "score": apart, "mask_iou": overlap}
    if beyond:
        return failed(name, f"{len(beyond)} detections are on one side only ({len(mine)} and {len(theirs)})", **figures)
    if not (box <= box_px and apart <= score and (overlap is None or overlap >= iou)):
        text = f"boxes off by {box:.3g} px (at most {box_px:g}), scores by {apart:.2g} (at most {score:g})"
        masks = "" if overlap is None else f", least mask IoU {overlap:.4f} (at least {iou:g})"
        return failed(name, text + masks, **figures)
    masks = "" if overlap is None else f", least mask IoU {overlap:.5f}"
    return checked(name, f"{len(mine)} detections, boxes off by {box:.2g} px{masks}", **figures)


def _pairs(mine: Detections, theirs: Detections) -> list[tuple[int, int]]:
    """Nearest boxes of one class, each once."""
    left, pairs = set(range(len(theirs))), []
    for a in range(len(mine)):
        near = [(float(np.abs(mine.boxes[a] - theirs.boxes[b]).max()), b) for b in left]
        near = [(distance, b) for distance, b in near if mine.classes[a] == theirs.classes[b]]
        if near and min(near)[0] < 32:
            pairs.append((a, min(near)[1]))
            left.discard(min(near)[1])
    return pairs


def _overlap(mine: Detections, theirs: Detections, pairs: list[tuple[int, int]]) -> float | None:
    """Least IoU of the masks of a pair; None without masks, two empty ones agree."""
    if mine.masks is None or theirs.masks is None:
        return None
    least = 1.0
    for a, b in pairs:
        have, want = mine.masks[a].to_array(), theirs.masks[b].to_array()
        union = np.count_nonzero(have | want)
        if union:
            least = min(least, float(np.count_nonzero(have & want) / union))
    return least


def _nv12(bgr: npt.NDArray[np.uint8]) -> Yuv:
    """A picture as a camera's decoder gives it: luma, and chroma at half resolution."""
    blue, green, red = (bgr[..., channel].astype(np.float32) for channel in range(3))
    luma = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
    cb, cr = (
        128 - 0.148 * red - 0.291 * green + 0.439 * blue,
        128 + 0.439 * red - 0.368 * green - 0.071 * blue,
    )
    chroma = np.stack([plane[::2, ::2] for plane in (cb, cr)], axis=-1)
    return Yuv("NV12", (luma.round().astype(np.uint8), chroma.round().astype(np.uint8)))
