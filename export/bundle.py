"""From weights to a proven bundle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import onnx
from torch import nn

from lineside.export.block_limits import refuse_free_size, refuse_large_maps
from lineside.export.blocks import load_blocks
from lineside.export.class_paths import class_paths
from lineside.export.cut import WeightsStorage, cut_tail, fused, rounded_to_fp16
from lineside.export.gate_pictures import gate_pictures
from lineside.export.graph.finish import Sides, finish
from lineside.export.graph.folds import FOLDS
from lineside.export.graph.half_weights import STORE_HALF
from lineside.export.graph.passes import PassRecord, run_passes
from lineside.export.graph.simplify import SIMPLIFY, SIMPLIFY_DYNAMIC
from lineside.export.heads import END2END_ROWS, find_head
from lineside.export.oldest_onnxruntime import oldest_onnxruntime
from lineside.export.ops.declare import DECLARE, used_ops
from lineside.export.ops.native_deform import NATIVE_DEFORM, NATIVE_OPSET, Deform
from lineside.export.outdated import require_current
from lineside.export.parity.budget import FP32, Budget
from lineside.export.parity.reference import TorchReference
from lineside.export.parity.result import ParityReport
from lineside.export.parity.rounding import rounding_effect
from lineside.export.parity.trials import Trial, another_shape
from lineside.export.precision.add import add_variants
from lineside.export.precision.choice import PrecisionChoice
from lineside.export.precision.report import PrecisionReport
from lineside.export.prove import STEPS, Progress, prove
from lineside.export.provenance import checkpoint_facts, provenance_of, tool_versions
from lineside.export.settle import settle
from lineside.export.staging import check_target, staged
from lineside.export.trace import INPUT, OPSET, free_sides, to_onnx
from lineside.export.ultra import is_structure, load_model
from lineside.runtime.contract import HeadContract, InputContract
from lineside.runtime.errors import BadOption
from lineside.runtime.manifest import Manifest
from lineside.runtime.verify import VerifyReport

__all__ = ["MODEL", "Exported", "build_graph", "export_bundle"]

MODEL = "model.onnx"
DEFAULT_IMGSZ = 640

TIE_SCORE = 1e-6
"""Probabilities that come out of a graph, as of an end-to-end head, are known to about 1e-7."""


@dataclass(frozen=True)
class Exported:
    """A bundle that passed its gate.

    Attributes:
        path: The bundle.
        manifest: Its manifest.
        parity: What the gate found.
        verified: The replay of its golden files, from the files as written.
        passes: What was done to the graph.
        precision: What is known of its variants; None where it has none.
    """

    path: Path
    manifest: Manifest
    parity: ParityReport
    verified: VerifyReport
    passes: tuple[PassRecord, ...]
    precision: PrecisionReport | None = None


def export_bundle(
    weights: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    imgsz: tuple[int, int] | None = None,
    batch: int = 1,
    end2end: bool = False,
    dynamic: bool = False,
    storage: WeightsStorage = "fp32",
    deform: Deform = "portable",
    images: str | os.PathLike[str] | None = None,
    modules: Sequence[str] = (),
    safe: bool = False,
    force: bool = False,
    budget: Budget = FP32,
    precision: PrecisionChoice | None = None,
    update: Progress = lambda done, total, note: None,
) -> Exported:
    """Exports weights into a bundle, which appears under its name only when it agrees with torch.

    Args:
        weights: A ``.pt`` checkpoint, the ``.safetensors`` copy of one, or a model yaml for random weights.
        out: Name of the bundle folder.
        imgsz: Height and width of the input in pixels; the training size (else 640, square) when None.
        batch: Pictures per run; for ``dynamic`` the most.
        end2end: Export the one-to-one part of the head, which needs no suppression, instead of the one-to-many part.
        dynamic: Leave batch, height and width free; ``imgsz`` is then the size of a load that names none.
        storage: Element type in which weights are stored; arithmetic is float32 either way.
        deform: Write deformable convolutions so that every onnxruntime runs them, or as the standard operator.
        images: Folder with pictures for the gate; seeded drawings of the task, and the photographs that installed
            packages carry, when None.
        modules: Files and packages with blocks of the user's own; see `lineside.export.blocks.load_blocks`.
        safe: Load the checkpoint without running foreign code.
        force: Replace a bundle of that name.
        budget: How far the bundle may be from torch.
        precision: Variants to add, each with a gate of its own; none when None.
        update: Called with steps done, steps in all, and what comes next.

    Returns:
        What was made.

    Raises:
        WeightsError: The weights cannot be loaded.
        ExportError: The model cannot be turned into a graph, or a block of it is too large for that input size.
        ParityFailed: The bundle, or a variant, is beyond its budget; nothing is left under its name.
        CheckFailed: A variant surely loses more accuracy than it may.
        SinkError: The bundle cannot be written.
        SourceError: The pictures cannot be read.
        BadOption: The input size does not fit the model's strides, one of `modules` cannot be imported, or the model has
            blocks for one input size and is to be `dynamic`.
    """
    if end2end and dynamic:
        raise BadOption(
            "an end-to-end graph picks its rows at one input size, so it cannot be dynamic: leave out --dynamic or "
            "--end2end"
        )
    precision = precision or PrecisionChoice()
    precision.check()
    target = Path(out)
    check_target(target, force)
    weights = os.fspath(weights)
    update(0, STEPS, f"loading {weights}")
    blocks = load_blocks(modules, [path.module for path in class_paths(weights)])
    model = load_model(weights, safe=safe, blocks=blocks)
    require_current(model, weights, blocks)
    facts = checkpoint_facts(weights, safe, blocks)
    size = imgsz or (facts.imgsz or DEFAULT_IMGSZ,) * 2
    head = find_head(model, size, end2end).contract
    if dynamic:
        refuse_free_size(model)
    refuse_large_maps(model, size)
    if end2end and budget.tie_score < TIE_SCORE:
        budget = msgspec.structs.replace(budget, tie_score=TIE_SCORE)
    names = _class_names(model, head.classes)
    chosen = gate_pictures(names, images, budget.pictures)
    pictures = chosen.gate
    if is_structure(weights):
        settle(model, chosen.settling)
    total = STEPS + len(pictures) * (2 if dynamic else 1)
    update(1, total, f"tracing at {size[0]}x{size[1]}, batch {batch}")
    plain = fused(model, end2end)
    exact = rounded_to_fp16(plain) if storage == "fp16" else model
    graph, passes = build_graph(exact if storage == "fp16" else plain, head, batch, names, storage, dynamic, deform)
    manifest = Manifest(
        name=target.name.removesuffix(".bundle"),
        task="segment" if head.coefficients else "detect",
        names=names,
        input=InputContract(name=INPUT, size=size, batch=batch, dynamic=dynamic),
        head=head,
        model=MODEL,
        weights_storage=storage,
        opset=_opset(deform),
        custom_ops=used_ops(graph),
        min_onnxruntime=oldest_onnxruntime(graph),
        provenance=provenance_of(weights, model, facts, blocks),
    )
    with staged(target, force) as folder:
        onnx.save(graph, folder / MODEL)
        reference = TorchReference(exact, size, end2end)
        rounding: dict[str, float] = {}
        if storage == "fp16":
            rounding = rounding_effect(TorchReference(model, size, end2end), reference, pictures)
        versions = tool_versions()
        described = f"torch {versions.get('torch', '?')}, ultralytics {versions.get('ultralytics', '?')}"
        described += ", weights rounded to FP16" if storage == "fp16" else ""
        report, verified, manifest = prove(
            folder,
            target,
            manifest,
            reference,
            pictures,
            chosen.golden,
            budget,
            described=described,
            pictures_from=chosen.described,
            rounding=rounding,
            also=[_other_trial(exact, head, batch)] if dynamic else [],
            update=update,
        )
        variants = None
        if precision.names:
            manifest, variants = add_variants(
                folder, target, manifest, reference, pictures, precision,
                described=described, pictures_from=chosen.described,
                note=lambda text: update(total, total, text),
            )  # fmt: skip
    return Exported(target, manifest, report, verified, tuple(passes), variants)


def build_graph(
    model: nn.Module,
    head: HeadContract,
    batch: int,
    names: Sequence[str],
    storage: WeightsStorage,
    dynamic: bool = False,
    deform: Deform = "portable",
) -> tuple[onnx.ModelProto, list[PassRecord]]:
    """Turns a fused model into the graph of a bundle.

    Args:
        model: A fused model; for ``fp16`` storage one whose weights are rounded.
        head: Its head contract.
        batch: Pictures per run.
        names: Class names, left in the file's metadata.
        storage: Element type in which weights are stored.
        dynamic: Leave batch, height and width free.
        deform: Form of deformable convolutions; see `export_bundle`.

    Returns:
        The graph, and what each pass did.

    Raises:
        ExportError: An operator has no ONNX form, or a pass did not keep its promise.
    """
    shape = (batch, 3, *head.input_size)
    rows = min(END2END_ROWS, head.anchors)
    known = [tuple(rows if side is None else side for side in sides) for sides in head.output_shapes(batch)]
    sides: dict[str, Sides] = dict(zip((INPUT, *head.output_names), (shape, *known), strict=True))
    if dynamic:
        sides = {name: free_sides(side, head.input_size) for name, side in zip(sides, (shape, *known), strict=True)}
    metadata = {"head": head.kind, "names": repr(dict(enumerate(names))), "imgsz": repr(list(head.input_size))}
    cut = cut_tail(model, head.input_size, head.kind == "end2end")
    traced = to_onnx(cut, shape, head.output_names, _opset(deform), free=sides if dynamic else None)
    outputs = {name: sides[name] for name in head.output_names}
    return run_passes(
        traced,
        [
            SIMPLIFY_DYNAMIC if dynamic else SIMPLIFY,
            *FOLDS,
            *([STORE_HALF] if storage == "fp16" else []),
            *([NATIVE_DEFORM] if deform == "native" else []),
            DECLARE,
            finish(sides[INPUT], outputs, metadata),
        ],
    )


def _opset(deform: Deform) -> int:
    """Opset of the graph: that of every export, unless an operator of a later one is asked for."""
    return NATIVE_OPSET if deform == "native" else OPSET


def _other_trial(model: nn.Module, head: HeadContract, batch: int) -> Trial:
    """The second shape at which a dynamic bundle must agree with torch."""
    size, count = another_shape(head.input_size, batch, head.strides[-1])
    return Trial(size, count, TorchReference(model, size))


def _class_names(model: nn.Module, classes: int) -> tuple[str, ...]:
    """Class names in the order of the head."""
    found = cast(Any, getattr(model, "names", None)) or {}
    table = dict(enumerate(found)) if isinstance(found, (list, tuple)) else dict(found)
    return tuple(str(table.get(index, index)) for index in range(classes))
