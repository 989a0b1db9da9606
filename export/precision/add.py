"""Adds variants to a bundle that passed its own gate: each is written, put through a gate of its own, and measured."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import onnx

from lineside.export.parity.budget import Budget
from lineside.export.parity.gate import run_gate
from lineside.export.parity.reference import Reference
from lineside.export.parity.result import ParityReport
from lineside.export.parity.shipped import Shipped
from lineside.export.pictures import Picture
from lineside.export.precision.audit import tensorrt_faults
from lineside.export.precision.calibrate import letterboxed_inputs, observe
from lineside.export.precision.choice import AIMS, BUDGETS, UNTRAINED, VARIANTS, PrecisionChoice
from lineside.export.precision.emulate import rounding_like_half
from lineside.export.precision.feed import calibration_inputs
from lineside.export.precision.half import LARGEST, to_fp16
from lineside.export.precision.loss import Yardstick
from lineside.export.precision.quantise import METHOD, Int8Kind, ranges_of, to_int8
from lineside.export.precision.ranges import Spread
from lineside.export.precision.report import MaskLoss, PrecisionReport, VariantReport
from lineside.export.precision.stand_in import stand_in
from lineside.export.precision.strict import mixed_types
from lineside.export.precision.work import asked_share
from lineside.export.prove import ParityFailed
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.errors import CheckFailed, ExportError, NonFiniteOutput
from lineside.runtime.manifest import Manifest
from lineside.runtime.plain import indented

__all__ = ["add_variants"]

REPORT = "reports/precision.json"

LOOKED = 16
"""Pictures of the gate that tell which values FP16 does not hold, where there is no calibration."""

KINDS: dict[str, Int8Kind] = {"int8-trt": "int8-trt", "int8-cpu": "int8-cpu"}

Note = Callable[[str], None]


@dataclass(frozen=True)
class _Made:
    """A variant: the graph that ships, the one that is looked at here, and how that one computes."""

    graph: onnx.ModelProto
    shown: onnx.ModelProto
    computed: str


def add_variants(
    folder: Path,
    target: Path,
    manifest: Manifest,
    reference: Reference,
    pictures: Sequence[Picture],
    choice: PrecisionChoice,
    *,
    described: str,
    pictures_from: str,
    untrained: bool = False,
    note: Note = lambda text: None,
) -> tuple[Manifest, PrecisionReport]:
    """Makes, proves and measures variants, and writes them into a bundle in its temporary folder.

    Args:
        folder: The temporary folder; the bundle in it is complete and proved.
        target: The name that the bundle is to have.
        manifest: Its manifest.
        reference: What the bundle agrees with.
        pictures: Pictures for the gate.
        choice: Which variants, calibrated and measured on what; checked.
        described: What the reference is, in words.
        pictures_from: Where the pictures come from, in words.
        untrained: The weights are random, so a wider budget holds.
        note: Called with what comes next.

    Returns:
        The manifest as written, and the report.

    Raises:
        ParityFailed: A variant is beyond its budget.
        CheckFailed: A variant surely loses more accuracy than its aim.
        ExportError: The model has no such form.
        SourceError: The pictures of the calibration cannot be read; DatasetError for those of a set.
    """
    model = onnx.load(folder / manifest.model)
    spreads, calibration = _calibrated(model, manifest, choice, note)
    if not spreads:
        note("looking how large values become")
        inputs = letterboxed_inputs([picture.frame for picture in pictures[:LOOKED]], manifest.input.size)
        spreads = observe(model, inputs, counted=False)
    yardstick = None
    if choice.data is not None:
        note("measuring FP32")
        yardstick = Yardstick(folder, manifest, choice)
    reports, variants = [], {}
    for name in choice.names:
        note(f"making {name}")
        made = _made(name, model, spreads)
        with tempfile.TemporaryDirectory() as scratch:
            beside = stand_in(Path(scratch), manifest, made.shown)
            note(f"comparing {name}")
            budget = UNTRAINED.get(name, BUDGETS[name]) if untrained else BUDGETS[name]
            parity = _gate(beside, budget, reference, pictures, described, pictures_from)
            if not parity.passed:
                raise _beyond(name, parity, target)
            loss = None
            if yardstick is not None:
                note(f"measuring {name}")
                loss = yardstick.loss(beside, AIMS[name])
                _check_loss(name, loss)
        path = folder / VARIANTS[name].file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(made.graph.SerializeToString())
        work = asked_share(made.graph, manifest.input.size)
        variants[name] = msgspec.structs.replace(VARIANTS[name], work=work)
        written = calibration if name in KINDS else ""
        reports.append(_report(name, path.stat().st_size, parity, made.computed, written, loss))
    report = PrecisionReport(variants=tuple(reports))
    (folder / REPORT).write_bytes(indented(report))
    return write_manifest(folder, msgspec.structs.replace(manifest, variants={**manifest.variants, **variants})), report


def _calibrated(
    model: onnx.ModelProto, manifest: Manifest, choice: PrecisionChoice, note: Note
) -> tuple[dict[str, Spread], str]:
    """What the tensors of the model hold, for the pictures of the user; nothing where FP16 alone is made."""
    if not any(name in KINDS for name in choice.names):
        return {}, ""
    note("reading pictures to calibrate on")
    inputs, described = calibration_inputs(choice, manifest.input.size, manifest.task == "detect")
    note(f"calibrating on {len(inputs)} pictures")
    return observe(model, inputs), described


def _made(name: str, model: onnx.ModelProto, spreads: dict[str, Spread]) -> _Made:
    """One variant, held against the rules of its engines."""
    if name not in KINDS:
        graph = to_fp16(model, ranges_of(spreads, "minmax"))
        faults = mixed_types(graph)
        computed = f"onnxruntime, rounded to FP16 after every FP16 operator{_too_large(spreads)}"
        made = _Made(graph, rounding_like_half(graph), computed)
    else:
        kind = KINDS[name]
        graph = to_int8(model, kind, ranges_of(spreads, METHOD[kind]))
        faults = [*mixed_types(graph), *(tensorrt_faults(graph) if kind == "int8-trt" else [])]
        made = _Made(graph, graph, "onnxruntime")
    if faults:
        raise ExportError(f"the {name} form of the model is not sound ({faults[0]}): leave {name} out and report it")
    return made


def _gate(
    beside: Path, budget: Budget, reference: Reference, pictures: Sequence[Picture], described: str, pictures_from: str
) -> ParityReport:
    """The parity gate with the budget of a variant."""
    shipped = Shipped(open_bundle(beside))
    try:
        head = open_bundle(beside).manifest.head
        return run_gate(shipped, reference, head, pictures, budget, described=described, pictures_from=pictures_from)
    except NonFiniteOutput as error:
        raise ExportError(
            "a variant gives NaN or infinity for a picture of the gate, which FP32 does not: a value of it outgrows its "
            "precision (FP16 ends at 65504). Leave fp16 out of --precision, or give pictures that show it with --calibrate"
        ) from error
    finally:
        shipped.close()


def _too_large(spreads: dict[str, Spread]) -> str:
    """Which tensors are so large that they keep FP32, in words; empty where there are none."""
    large = {name: max(-spread.low, spread.high) for name, spread in spreads.items()}
    large = {name: reach for name, reach in large.items() if reach > LARGEST}
    if not large:
        return ""
    name = max(large, key=lambda it: large[it])
    return (
        f"; {len(large)} tensors keep FP32 since they hold values beyond {LARGEST:g}, most '{name}' ({large[name]:.4g})"
    )


def _beyond(name: str, parity: ParityReport, target: Path) -> ParityFailed:
    """Keeps the report of a variant that failed, and says why."""
    kept = target.with_name(f"{target.name}.{name}.parity.json")
    kept.write_bytes(indented(parity))
    worst = next(verdict for verdict in parity.verdicts if not verdict.passed)
    return ParityFailed(
        f"the {name} variant does not see what its reference sees, level '{worst.level}' on picture "
        f"'{worst.worst_picture}': {worst.reason}. No bundle was written; leave {name} out of --precision, or calibrate "
        f"on more pictures; the full report is in {kept}",
        parity,
        kept,
    )


def _check_loss(name: str, loss: MaskLoss) -> None:
    """Raises where a variant surely loses more than its aim."""
    if loss.difference.high < -loss.aim:
        raise CheckFailed(
            f"the {name} variant loses {-100 * loss.difference.value:.2f} points of mAP50-95 on {loss.pictures} pictures "
            f"(95 % interval {-100 * loss.difference.high:.2f} to {-100 * loss.difference.low:.2f}, at most "
            f"{100 * loss.aim:g}). No bundle was written; leave {name} out of --precision, or calibrate on more pictures"
        )


def _report(
    name: str, size: int, parity: ParityReport, computed: str, calibration: str, loss: MaskLoss | None
) -> VariantReport:
    """The report of one variant."""
    masks = [picture.masks.mean_iou for picture in parity.pictures if picture.masks.compared]
    return VariantReport(
        name=name,
        file=VARIANTS[name].file,
        bytes=size,
        budget=parity.budget,
        cosine=min(measure.cosine for picture in parity.pictures for measure in picture.raw),
        box_px=max(picture.anchors.box_px for picture in parity.pictures),
        score=max(picture.anchors.score for picture in parity.pictures),
        mask_iou=min(masks, default=None),
        computed=computed,
        calibration=calibration,
        loss=loss,
    )
