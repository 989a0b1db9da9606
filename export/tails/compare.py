"""Runs a graph with its tail and without, and compares every anchor: the last step before a tail may go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from lineside.export.parity.letterbox import letterboxed, place
from lineside.export.parity.plain_decode import decode_flat
from lineside.export.parity.plain_onnx import plain_session
from lineside.export.pictures import Picture
from lineside.export.tails.linear import UnknownTail
from lineside.runtime.contract import HeadContract
from lineside.runtime.errors import EngineFailed
from lineside.runtime.geometry import Letterbox
from lineside.runtime.postprocess import decode

__all__ = ["TailFigures", "compare_tail"]

Tensor = npt.NDArray[np.float32]

NOISE = 2
"""Inputs of random pixels, beside those made of pictures."""

MOST_PICTURES = 8
BOX_PX, SCORE = 0.05, 1e-4
"""How far a box side, in input pixels, and a score may be off where the tail computes in float32."""

MASKS = 1e-3
"""How far coefficients and prototypes may be off, of their greatest value; they are not touched by a tail."""

HALF_STEPS, HALF_SCORE = 4, 2e-3
"""The same for a tail in float16: steps between two neighbouring numbers of the size of the input, and a score."""


class TailFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The runtime's decoding of the head tensors beside the tail's own.

    Attributes:
        inputs: Inputs that were compared, one picture or field of random pixels each.
        anchors: Anchors compared, over all inputs.
        box_px: Greatest difference of a box side, in input pixels.
        score: Greatest difference of the best score of an anchor.
        masks: Greatest difference of a coefficient or prototype, as a share of the greatest value of its kind.
        limit_px: What ``box_px`` may be.
        limit_score: What ``score`` may be.
    """

    inputs: int
    anchors: int
    box_px: float
    score: float
    masks: float
    limit_px: float
    limit_score: float


def compare_tail(
    whole: bytes,
    cut: bytes,
    flat: HeadContract,
    levels: HeadContract,
    batch: int,
    pictures: Sequence[Picture],
    half: bool,
) -> TailFigures:
    """Compares every anchor on pictures and on random pixels.

    Args:
        whole: The graph as given.
        cut: The graph without its tail.
        flat: Head contract of the one.
        levels: Head contract of the other.
        batch: Pictures per run; every slot is compared.
        pictures: Pictures; at most `MOST_PICTURES` are used.
        half: The tail computes in float16, so that its own rounding is allowed for.

    Returns:
        The figures, within their limits.

    Raises:
        UnknownTail: Beyond a limit, or an anchor is missing.
        EngineFailed: onnxruntime refuses or cannot run one of the graphs.
    """
    # Float16 arithmetic differs with what is fused, so both sides run as the runtime runs them.
    before, after = plain_session(whole, optimise=half), plain_session(cut, optimise=half)
    inputs = _inputs(flat.input_size, pictures, batch)
    worst = np.zeros(3)
    for tensor in inputs:
        own, tensors = _run(before, tensor), _run(after, tensor)
        for slot in range(batch):
            mine = [np.asarray(each[slot : slot + 1], np.float32) for each in tensors]
            theirs = [np.asarray(each[slot], np.float32) for each in own]
            boxes = _differences(theirs[0], mine, flat, levels)
            worst = np.maximum(worst, (*boxes, _mask_difference(theirs, mine, flat)))  # NaN stays
    figures = TailFigures(
        inputs=len(inputs) * batch,
        anchors=len(inputs) * batch * flat.anchors,
        box_px=float(worst[0]),
        score=float(worst[1]),
        masks=float(worst[2]),
        limit_px=HALF_STEPS * float(np.spacing(np.float16(max(flat.input_size)))) if half else BOX_PX,
        limit_score=HALF_SCORE if half else SCORE,
    )
    if not (
        figures.box_px <= figures.limit_px and figures.score <= figures.limit_score and figures.masks <= MASKS
    ):  # NaN is not within any
        raise UnknownTail(
            f"without it boxes come out {figures.box_px:.3g} px, scores {figures.score:.3g} and mask values "
            f"{figures.masks:.3g} off (at most {figures.limit_px:.3g} px, {figures.limit_score:g} and {MASKS:g})"
        )
    return figures


def _run(session: Any, tensor: Tensor) -> list[Tensor]:
    """Outputs of a session."""
    try:
        found: list[Tensor] = session.run(None, {session.get_inputs()[0].name: tensor})
    except Exception as error:  # onnxruntime has a dozen exception types without a common base
        reason = str(error).strip().partition("\n")[0]
        raise EngineFailed(f"onnxruntime cannot run the model ({reason})") from error
    return found


def _mask_difference(own: list[Tensor], tensors: list[Tensor], flat: HeadContract) -> float:
    """Greatest relative difference of coefficients and prototypes of one picture."""
    if not flat.coefficients:
        return 0.0
    levels = [each[0].reshape(flat.coefficients, -1) for each in tensors[2::3]]
    pairs = [(own[0][4 + flat.classes :], np.concatenate(levels, 1)), (own[1], tensors[-1][0])]
    return max(float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-9)) for a, b in pairs)


def _differences(rows: Tensor, tensors: list[Tensor], flat: HeadContract, levels: HeadContract) -> tuple[float, float]:
    """Greatest difference of a box side and of a best score, over all anchors of one picture."""
    boxes, scores, _ = decode_flat(rows, flat)
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise UnknownTail("its output holds NaN or infinity")
    found = decode(
        tensors, levels, Letterbox.fit(flat.input_size, flat.input_size), conf=0.0, iou=1.0, max_det=flat.anchors,
        masks="none",
    )  # fmt: skip
    best = scores.max(1)
    seen = np.zeros(flat.anchors, bool)
    seen[found.anchors] = True
    off_score = float(best[~seen].max(initial=0.0))  # an anchor is left out only where its score is 0
    if not len(found):
        return 0.0, off_score
    chosen = scores[found.anchors, found.classes]
    off_score = max(off_score, float(np.abs(found.scores - best[found.anchors]).max()))
    off_score = max(off_score, float((best[found.anchors] - chosen).max()))
    height, width = flat.input_size
    clipped = boxes[found.anchors].clip(0, [width, height, width, height])
    return float(np.abs(found.boxes - clipped).max()), off_score


def _inputs(size: tuple[int, int], pictures: Sequence[Picture], batch: int) -> list[Tensor]:
    """Input tensors ``(batch, 3, h, w)``: pictures, then random pixels; the last are filled up with random pixels."""
    random = np.random.default_rng(7)
    fields = []
    for picture in pictures[:MOST_PICTURES]:
        placement = place((picture.frame.shape[0], picture.frame.shape[1]), size)
        fields.append(letterboxed(picture.frame, placement))
    missing = NOISE + -(len(fields) + NOISE) % batch
    fields += [random.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(missing)]
    stack = np.stack(fields).transpose(0, 3, 1, 2).astype(np.float32) / 255
    return [np.ascontiguousarray(stack[start : start + batch]) for start in range(0, len(stack), batch)]
