"""Replays a bundle's golden files through the runtime and says whether it still sees what the original model saw.

Each detection must be there, and no other. Where the original model puts several detections on a par and rounding
decides which of them stay, those found must keep the rules of suppression (`lineside.runtime.ties`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import numpy.typing as npt

from lineside.runtime.bundle import Bundle, list_golden
from lineside.runtime.detections import Detections
from lineside.runtime.engines import open_engines
from lineside.runtime.engines.base import Engine, EngineOptions
from lineside.runtime.errors import BadOption, BundleDamaged, CheckFailed
from lineside.runtime.geometry import Letterbox
from lineside.runtime.golden import Golden, mask_of_rle, read_golden
from lineside.runtime.matching import counterparts, golden_pairs, nearest_candidates, same_anchors
from lineside.runtime.postprocess import Postprocessor
from lineside.runtime.ties import Candidates, contradiction
from lineside.runtime.variants import check_precision

__all__ = ["FP32", "OF_VARIANTS", "GoldenResult", "Tolerance", "VerifyReport", "verify_bundle"]

Tensor = npt.NDArray[np.float32]


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """How far a replay may be from the golden file; a value on the limit still passes.

    Attributes:
        box_px: Greatest difference of a box side, in picture pixels.
        score: Greatest difference of a score.
        mask_iou: Least mean IoU of the masks of a picture.
        cosine: Least cosine between a raw output and the recorded one, which is rounded to float16.
        edge: A detection whose score is at most so much above the threshold may be there or not; above 0 for other
            precisions than FP32.
    """

    box_px: float = 0.1
    score: float = 2e-3
    mask_iou: float = 0.99
    cosine: float = 0.9999
    edge: float = 0.0


FP32 = Tolerance()
"""For float32 arithmetic: twice the budget of the export gate, for another processor's order of additions."""


OF_VARIANTS: Mapping[str, Tolerance] = {
    "fp16": Tolerance(box_px=1.0, score=0.02, mask_iou=0.97, cosine=0.999, edge=0.02),
    "int8": Tolerance(box_px=64.0, score=0.35, mask_iou=0.6, cosine=0.85, edge=0.35),
}
"""For variants, by their arithmetic: the budgets of their export gates, with int8 that of random weights. They find a variant
that this machine computes wrongly; what a precision costs is measured at the export."""


class GoldenResult(msgspec.Struct, frozen=True, kw_only=True):
    """One golden file, replayed.

    Attributes:
        name: Its name inside the bundle.
        expected: Detections of the original model.
        found: Detections of the replay.
        matched: Pairs of the same class, each the nearest of what is left; with ``undecided``, of a detection of the
            replay and the candidate of the same anchor.
        box_px: Greatest difference of a box side over all pairs, in picture pixels.
        score: Greatest difference of a score over all pairs.
        mask_iou: Mean IoU over all pairs with a mask; None where there is none.
        cosine: Least cosine over the recorded raw outputs; None where none are recorded.
        reason: What is wrong; empty where the file passed.
        undecided: Candidates of the original model among which rounding decides, so that other detections than its own
            may be found, by the rules of `lineside.runtime.ties`; 0 where it is clear which ones stay.
    """

    name: str
    expected: int
    found: int
    matched: int
    box_px: float
    score: float
    mask_iou: float | None
    cosine: float | None
    reason: str = ""
    undecided: int = 0


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """A whole replay.

    Attributes:
        passed: Whether every golden file passed.
        bundle: Path of the bundle.
        engine: What ran the model.
        files: Number of files whose hash was right.
        tolerance: The limits.
        golden: One result per file.
    """

    passed: bool
    bundle: str
    engine: str
    files: int
    tolerance: Tolerance
    golden: tuple[GoldenResult, ...]


def verify_bundle(
    bundle: Bundle,
    engine: str = "auto",
    tolerance: Tolerance | None = None,
    progress: Callable[[int], None] | None = None,
    precision: str | None = None,
) -> VerifyReport:
    """Replays every golden file.

    Args:
        bundle: A bundle whose hashes were verified when it was opened.
        engine: Name of the engine to replay with.
        tolerance: How far it may be off; None for that of the precision.
        progress: Called with the number of files done.
        precision: ``fp32`` or a variant of the bundle; None for what the engine runs by itself.

    Returns:
        The report.

    Raises:
        BadOption: The engine replays recorded outputs, which proves nothing about the model, or does not run that
            precision.
        CheckFailed: The bundle holds nothing to compare with.
        EngineError: The engine is not there or refuses the model.
        BundleDamaged: A golden file is not one.
        NonFiniteOutput: The model produced NaN or infinity.
    """
    if engine == "recorded":
        raise BadOption(
            "the engine 'recorded' answers with outputs that lie in the bundle and never runs the model, so nothing "
            "would be verified: use the engine onnxruntime"
        )
    names = list_golden(bundle)
    if not names:
        raise CheckFailed(f"{bundle.path} holds no golden files, so nothing proves it: export the bundle again")
    check_precision(bundle.manifest, engine, precision)
    variant = bundle.manifest.variants.get(precision or "")
    tolerance = tolerance or (FP32 if variant is None else OF_VARIANTS[variant.precision])
    lane = open_engines(engine, bundle, EngineOptions(lanes=1, precision=precision))[0]
    try:
        postprocess = Postprocessor(bundle.manifest.head)
        results = []
        for index, name in enumerate(names):
            golden = read_golden(bundle, name)
            slot = index % bundle.manifest.input.batch
            outputs = _replay(lane, bundle.manifest.input.name, golden, slot)
            results.append(_compare(golden, outputs, postprocess, bundle, tolerance))
            if progress:
                progress(index + 1)
    finally:
        lane.close()
    if not any(result.expected for result in results):
        raise CheckFailed(f"no golden file of {bundle.path} holds a detection, so nothing proves it: export it again")
    return VerifyReport(
        passed=not any(result.reason for result in results),
        bundle=str(bundle.path),
        engine=lane.name,
        files=len(bundle.manifest.files),
        tolerance=tolerance,
        golden=tuple(results),
    )


def _replay(lane: Engine, name: str, golden: Golden, slot: int) -> list[Tensor]:
    """Raw outputs of the golden input in one slot of the batch; the other slots see it upside down."""
    buffer = lane.buffers()[name]
    tensor = golden.pixels.transpose(2, 0, 1) * np.float32(1 / 255)
    buffer[...] = tensor[:, ::-1]
    buffer[slot] = tensor
    return [np.ascontiguousarray(output[slot : slot + 1]) for output in lane.infer({name: buffer})]


def _compare(
    golden: Golden, outputs: Sequence[Tensor], postprocess: Postprocessor, bundle: Bundle, tolerance: Tolerance
) -> GoldenResult:
    """Detections and raw outputs against the golden file."""
    found = postprocess.run(
        outputs,
        Letterbox.fit(golden.image_size, bundle.manifest.input.size),
        conf=golden.conf,
        iou=golden.iou,
        max_det=golden.max_det,
        masks="native" if golden.rle is not None else "none",
        agnostic=False,
        names=bundle.manifest.names,
    )
    if tolerance.edge:
        golden = replace(golden, candidates=None)
    rows: Golden | Candidates = golden.candidates or golden
    final = bundle.manifest.head.kind == "end2end"
    if tolerance.edge:
        pairs = golden_pairs(golden, found, within=tolerance.box_px)
    elif golden.candidates is None:
        pairs = golden_pairs(golden, found)
    else:
        pairs = nearest_candidates(golden.candidates, found) if final else same_anchors(golden.candidates, found)
    mine, theirs = [pair[1] for pair in pairs], [pair[0] for pair in pairs]
    box = np.abs(found.boxes[mine].astype(np.float64) - rows.boxes[theirs])
    score = np.abs(found.scores[mine].astype(np.float64) - rows.scores[theirs])
    result = GoldenResult(
        name=golden.name,
        expected=len(golden.scores),
        found=len(found),
        matched=len(pairs),
        box_px=float(box.max()) if box.size else 0.0,
        score=float(score.max()) if score.size else 0.0,
        mask_iou=_mask_iou(golden, rows.rle, found, pairs, bundle),
        cosine=_cosine(golden, dict(zip(bundle.manifest.head.output_names, outputs, strict=True)), bundle),
        undecided=0 if golden.candidates is None else len(golden.candidates.scores),
    )
    if tolerance.edge:
        reason = _astray(golden, found, pairs, tolerance.edge)
    else:
        reason = _unexplained(golden, result, theirs, final)
    reason = reason or _reason(result, tolerance)
    return msgspec.structs.replace(result, reason=reason)


def _unexplained(golden: Golden, result: GoldenResult, theirs: Sequence[int], final: bool) -> str:
    """Why the detections are not those of the original model, and rounding does not explain it; empty where they are."""
    rows = golden.candidates
    if rows is None:
        if result.matched == result.found == result.expected:
            return ""
        return f"{result.matched} of {result.expected} detections matched, {result.found} found"
    if result.matched != result.found:
        others = result.found - result.matched
        return f"{others} of {result.found} detections are none that the original model may have found"
    taken = np.zeros(len(rows.scores), np.bool_)
    taken[list(theirs)] = True
    return contradiction(rows, taken, golden.conf, golden.iou, final=final)


def _astray(golden: Golden, found: Detections, pairs: Sequence[tuple[int, int]], edge: float) -> str:
    """Why the detections of another precision are not those of the original model; empty where they are.

    Those near the threshold may come and go.
    """
    sure = golden.conf + edge
    missing = np.delete(golden.scores, [pair[0] for pair in pairs])
    added = np.delete(found.scores, [pair[1] for pair in pairs])
    for what, scores in (("is not found", missing), ("is found and none of the original model's", added)):
        if (scores > sure).any():
            return f"a detection of score {float(scores.max()):.2f} {what} (at most {sure:.2f} may come and go)"
    return ""


def _mask_iou(
    golden: Golden, rle: tuple[str, ...] | None, found: Detections, pairs: Sequence[tuple[int, int]], bundle: Bundle
) -> float | None:
    """Mean IoU of the masks; a pair of empty masks agrees and is not counted."""
    if rle is None or found.masks is None:
        return None
    values = []
    for theirs, mine in pairs:
        try:
            want = mask_of_rle(rle[theirs], golden.image_size)
        except ValueError as error:
            raise BundleDamaged(f"{golden.name} in {bundle.path} holds {error}: export the bundle again") from error
        have = found.masks[mine].to_array()
        union = np.count_nonzero(want | have)
        if union:
            values.append(np.count_nonzero(want & have) / union)
    return float(np.mean(values)) if values else None


def _cosine(golden: Golden, outputs: dict[str, Tensor], bundle: Bundle) -> float | None:
    """Least cosine over the recorded outputs."""
    values = []
    head = bundle.manifest.head
    for name, recorded in golden.outputs.items():
        if head.kind == "end2end" and name == head.output_names[0] and recorded.shape == outputs[name].shape:
            recorded = recorded[:, : -(-recorded.shape[1] // 2)]
            outputs = {**outputs, name: counterparts(recorded[0], outputs[name][0])[None]}
        a, b = outputs[name].astype(np.float64).ravel(), recorded.astype(np.float64).ravel()
        lengths = float(np.linalg.norm(a) * np.linalg.norm(b)) if a.shape == b.shape else 0.0
        values.append(float(a @ b) / lengths if lengths else 0.0)
    return min(values) if values else None


def _reason(result: GoldenResult, tolerance: Tolerance) -> str:
    """The first thing that is off, in words; comparisons are written so that NaN fails."""
    if not result.box_px <= tolerance.box_px:
        return f"a box is off by {result.box_px:.3g} px (at most {tolerance.box_px:g})"
    if not result.score <= tolerance.score:
        return f"a score is off by {result.score:.3g} (at most {tolerance.score:g})"
    if result.mask_iou is not None and not result.mask_iou >= tolerance.mask_iou:
        return f"the masks have mean IoU {result.mask_iou:.4f} (at least {tolerance.mask_iou:g})"
    if result.cosine is not None and not result.cosine >= tolerance.cosine:
        return f"a raw output has cosine {result.cosine:.6f} with the recorded one (at least {tolerance.cosine:g})"
    return ""
