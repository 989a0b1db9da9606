"""From weights to a proven bundle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import onnx
from torch import nn

from lineside.export.cut import WeightsStorage, fused, rounded_to_fp16
from lineside.export.gate_pictures import gate_pictures
from lineside.export.graph.build import build_graph, opset_of
from lineside.export.graph.passes import PassRecord
from lineside.export.oldest_onnxruntime import oldest_onnxruntime
from lineside.export.ops.declare import used_ops
from lineside.export.ops.native_deform import Deform
from lineside.export.parity.budget import FP32, GRAPH_TIE, Budget
from lineside.export.parity.reference import TorchReference
from lineside.export.parity.result import ParityReport
from lineside.export.parity.rounding import rounding_effect
from lineside.export.parity.trials import Trial, another_shape
from lineside.export.pictures import Picture
from lineside.export.precision.add import add_variants
from lineside.export.precision.choice import PrecisionChoice
from lineside.export.precision.report import PrecisionReport
from lineside.export.prove import STEPS, Progress, prove
from lineside.export.provenance import provenance_of, tool_versions
from lineside.export.settle import settle
from lineside.export.staging import check_target, staged
from lineside.export.subject import Subject, load_subject
from lineside.export.trace import INPUT
from lineside.export.ultra import is_structure
from lineside.runtime.contract import HeadContract, InputContract
from lineside.runtime.errors import BadOption
from lineside.runtime.manifest import Manifest
from lineside.runtime.verify import VerifyReport

__all__ = ["MODEL", "Exported", "export_bundle"]

MODEL = "model.onnx"


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


@dataclass(frozen=True)
class _Form:
    """What the graph is to be like; fields as the arguments of `export_bundle`."""

    batch: int
    end2end: bool
    dynamic: bool
    storage: WeightsStorage
    deform: Deform


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
    target, weights, form = Path(out), os.fspath(weights), _Form(batch, end2end, dynamic, storage, deform)
    check_target(target, force)
    update(0, STEPS, f"loading {weights}")
    subject = load_subject(weights, imgsz, end2end=end2end, dynamic=dynamic, modules=modules, safe=safe)
    pictures = gate_pictures(subject.names, images, budget.pictures)
    if is_structure(weights):
        settle(subject.model, pictures.settling)
    total = STEPS + len(pictures.gate) * (2 if dynamic else 1)
    update(1, total, f"tracing at {subject.size[0]}x{subject.size[1]}, batch {batch}")
    exact, graph, passes = _traced(subject, form)
    manifest = _manifest(target, subject, form, graph)
    with staged(target, force) as folder:
        onnx.save(graph, folder / MODEL)
        reference, described, rounding = _reference(subject, form, exact, pictures.gate)
        report, verified, manifest = prove(
            folder, target, manifest, reference, pictures.gate, pictures.golden, _known_to(budget, end2end),
            described=described, pictures_from=pictures.described, rounding=rounding,
            also=[_other_trial(exact, subject.head, batch)] if dynamic else [], update=update,
        )  # fmt: skip
        variants = None
        if precision.names:
            manifest, variants = add_variants(
                folder, target, manifest, reference, pictures.gate, precision,
                described=described, pictures_from=pictures.described, untrained=is_structure(weights),
                note=lambda text: update(total, total, text),
            )  # fmt: skip
    return Exported(target, manifest, report, verified, tuple(passes), variants)


def _traced(subject: Subject, form: _Form) -> tuple[nn.Module, onnx.ModelProto, list[PassRecord]]:
    """The model that the bundle must agree with, the graph of the bundle, and what was done to that."""
    plain = fused(subject.model, form.end2end)
    exact, shipped = subject.model, plain
    if form.storage == "fp16":
        exact = shipped = rounded_to_fp16(plain)
    graph, passes = build_graph(
        shipped, subject.head, form.batch, subject.names, form.storage, form.dynamic, form.deform
    )
    return exact, graph, passes


def _manifest(target: Path, subject: Subject, form: _Form, graph: onnx.ModelProto) -> Manifest:
    """The manifest, without hashes of the files."""
    return Manifest(
        name=target.name.removesuffix(".bundle"),
        task="segment" if subject.head.coefficients else "detect",
        names=subject.names,
        input=InputContract(name=INPUT, size=subject.size, batch=form.batch, dynamic=form.dynamic),
        head=subject.head,
        model=MODEL,
        weights_storage=form.storage,
        opset=opset_of(form.deform),
        custom_ops=used_ops(graph),
        min_onnxruntime=oldest_onnxruntime(graph),
        provenance=provenance_of(subject.weights, subject.model, subject.facts, subject.blocks),
    )


def _reference(
    subject: Subject, form: _Form, exact: nn.Module, pictures: Sequence[Picture]
) -> tuple[TorchReference, str, dict[str, float]]:
    """What the bundle must agree with, that in words, and what rounding the weights changed of it."""
    versions = tool_versions()
    described = f"torch {versions.get('torch', '?')}, ultralytics {versions.get('ultralytics', '?')}"
    reference = TorchReference(exact, subject.size, form.end2end)
    if form.storage == "fp32":
        return reference, described, {}
    rounding = rounding_effect(TorchReference(subject.model, subject.size, form.end2end), reference, pictures)
    return reference, f"{described}, weights rounded to FP16", rounding


def _known_to(budget: Budget, end2end: bool) -> Budget:
    """The budget, with scores that are on a par where the graph cannot tell them apart."""
    return msgspec.structs.replace(budget, tie_score=max(budget.tie_score, GRAPH_TIE)) if end2end else budget


def _other_trial(model: nn.Module, head: HeadContract, batch: int) -> Trial:
    """The second shape at which a dynamic bundle must agree with torch."""
    size, count = another_shape(head.input_size, batch, head.strides[-1])
    return Trial(size, count, TorchReference(model, size))
