"""From weights to a proven bundle."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import onnx
from torch import nn

from lineside.export.cut import WeightsStorage, cut_tail, fused, rounded_to_fp16
from lineside.export.golden import write_goldens
from lineside.export.graph.finish import finish
from lineside.export.graph.half_weights import STORE_HALF
from lineside.export.graph.passes import PassRecord, run_passes
from lineside.export.graph.simplify import SIMPLIFY
from lineside.export.heads import find_head
from lineside.export.parity.budget import FP32, Budget
from lineside.export.parity.gate import run_gate
from lineside.export.parity.reference import Reference, TorchReference
from lineside.export.parity.result import ParityReport
from lineside.export.parity.rounding import rounding_effect
from lineside.export.parity.shipped import Shipped
from lineside.export.pictures import Picture, drawn_pictures, golden_drawings, read_pictures
from lineside.export.provenance import checkpoint_facts, provenance_of, tool_versions
from lineside.export.settle import settle
from lineside.export.staging import check_target, staged
from lineside.export.trace import OPSET, to_onnx
from lineside.export.ultra import load_model
from lineside.runtime.bundle import open_bundle, write_manifest
from lineside.runtime.contract import HeadContract, InputContract
from lineside.runtime.errors import CheckFailed, NonFiniteOutput
from lineside.runtime.manifest import Manifest
from lineside.runtime.verify import VerifyReport, verify_bundle

__all__ = ["Exported", "ParityFailed", "build_graph", "export_bundle", "prove"]

MODEL = "model.onnx"
REPORT = "reports/parity.json"
DEFAULT_IMGSZ = 640
STEPS = 4
"""Steps of an export beside one per picture: load, trace, golden files, replay."""

Progress = Callable[[float, float, str], None]


@dataclass(frozen=True)
class Exported:
    """A bundle that passed its gate.

    Attributes:
        path: The bundle.
        manifest: Its manifest.
        parity: What the gate found.
        verified: The replay of its golden files, from the files as written.
        passes: What was done to the graph.
    """

    path: Path
    manifest: Manifest
    parity: ParityReport
    verified: VerifyReport
    passes: tuple[PassRecord, ...]


class ParityFailed(CheckFailed):
    """The bundle does not see what torch sees.

    Attributes:
        report: What the gate found.
        kept: File that the report was saved to.
    """

    def __init__(self, message: str, report: ParityReport, kept: Path) -> None:
        super().__init__(message)
        self.report, self.kept = report, kept


def export_bundle(
    weights: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    imgsz: tuple[int, int] | None = None,
    batch: int = 1,
    storage: WeightsStorage = "fp32",
    images: str | os.PathLike[str] | None = None,
    safe: bool = False,
    force: bool = False,
    budget: Budget = FP32,
    update: Progress = lambda done, total, note: None,
) -> Exported:
    """Exports weights into a bundle, which appears under its name only when it agrees with torch.

    Args:
        weights: A ``.pt`` checkpoint, or a model yaml for random weights.
        out: Name of the bundle folder.
        imgsz: Height and width of the input in pixels; the training size (else 640, square) when None.
        batch: Pictures per run; static.
        storage: Element type in which weights are stored; arithmetic is float32 either way.
        images: Folder with pictures for the gate; seeded drawings of the task when None.
        safe: Load the checkpoint without running foreign code.
        force: Replace a bundle of that name.
        budget: How far the bundle may be from torch.
        update: Called with steps done, steps in all, and what comes next.

    Returns:
        What was made.

    Raises:
        WeightsError: The weights cannot be loaded.
        ExportError: The model cannot be turned into a graph.
        ParityFailed: The bundle is beyond the budget; nothing is left under its name.
        SinkError: The bundle cannot be written.
        SourceError: The pictures cannot be read.
        BadOption: The input size does not fit the model's strides.
    """
    target = Path(out)
    check_target(target, force)
    weights = os.fspath(weights)
    update(0, STEPS, f"loading {weights}")
    model = load_model(weights, safe=safe)
    facts = checkpoint_facts(weights, safe)
    size = imgsz or (facts.imgsz or DEFAULT_IMGSZ,) * 2
    head = find_head(model, size).contract
    names = _class_names(model, head.classes)
    pictures = read_pictures(images, budget.pictures) if images else drawn_pictures(names)
    if not weights.lower().endswith(".pt"):
        settle(model, pictures)
    total = STEPS + len(pictures)
    update(1, total, f"tracing at {size[0]}x{size[1]}, batch {batch}")
    plain = fused(model)
    exact = rounded_to_fp16(plain) if storage == "fp16" else model
    graph, passes = build_graph(exact if storage == "fp16" else plain, head, batch, names, storage)
    manifest = Manifest(
        name=target.name.removesuffix(".bundle"),
        names=names,
        input=InputContract(name="images", size=size, batch=batch),
        head=head,
        model=MODEL,
        weights_storage=storage,
        opset=OPSET,
        provenance=provenance_of(weights, model, facts),
    )
    with staged(target, force) as folder:
        onnx.save(graph, folder / MODEL)
        reference = TorchReference(exact, size)
        rounding = rounding_effect(TorchReference(model, size), reference, pictures) if storage == "fp16" else {}
        versions = tool_versions()
        report, verified, manifest = prove(
            folder,
            target,
            manifest,
            reference,
            pictures,
            pictures if images else golden_drawings(names),
            budget,
            described=f"torch {versions.get('torch', '?')}, ultralytics {versions.get('ultralytics', '?')}"
            + (", weights rounded to FP16" if storage == "fp16" else ""),
            pictures_from=str(images or "drawings of the task"),
            rounding=rounding,
            update=update,
        )
    return Exported(target, manifest, report, verified, tuple(passes))


def build_graph(
    model: nn.Module, head: HeadContract, batch: int, names: Sequence[str], storage: WeightsStorage
) -> tuple[onnx.ModelProto, list[PassRecord]]:
    """Turns a fused model into the graph of a bundle.

    Args:
        model: A fused model; for ``fp16`` storage one whose weights are rounded.
        head: Its head contract.
        batch: Pictures per run.
        names: Class names, left in the file's metadata.
        storage: Element type in which weights are stored.

    Returns:
        The graph, and what each pass did.

    Raises:
        ExportError: An operator has no ONNX form, or a pass did not keep its promise.
    """
    shape = (batch, 3, *head.input_size)
    outputs = {
        name: tuple(side for side in sides if side is not None)
        for name, sides in zip(head.output_names, head.output_shapes(batch), strict=True)
    }
    metadata = {"head": head.kind, "names": repr(dict(enumerate(names))), "imgsz": repr(list(head.input_size))}
    traced = to_onnx(cut_tail(model, head.input_size), shape, head.output_names)
    steps = [SIMPLIFY, *([STORE_HALF] if storage == "fp16" else []), finish(shape, outputs, metadata)]
    return run_passes(traced, steps)


def prove(
    folder: Path,
    target: Path,
    manifest: Manifest,
    reference: Reference,
    pictures: Sequence[Picture],
    golden: Sequence[Picture],
    budget: Budget,
    *,
    described: str,
    pictures_from: str,
    rounding: dict[str, float] | None = None,
    update: Progress = lambda done, total, note: None,
) -> tuple[ParityReport, VerifyReport, Manifest]:
    """Puts a bundle in its temporary folder through the gate, adds report and golden files, and replays those.

    Args:
        folder: The temporary folder; the model is in it.
        target: The name that the bundle is to have.
        manifest: Its manifest; hashes are filled in.
        reference: What it must agree with.
        pictures: Pictures for the gate.
        golden: Pictures for the golden files.
        budget: How far it may be from the reference.
        described: What the reference is, in words.
        pictures_from: Where the pictures come from, in words.
        rounding: For the report: what rounding the weights changed.
        update: Called with steps done, steps in all, and what comes next.

    Returns:
        The gate's report, the replay, and the manifest as written.

    Raises:
        ParityFailed: Beyond the budget.
        CheckFailed: NaN among the outputs, or the finished bundle does not replay its golden files.
        ExportError: The pictures give too few detections for golden files.
    """
    total = STEPS + len(pictures)
    write_manifest(folder, manifest)
    report = _gate(
        folder, reference, manifest.head, pictures, budget, described=described, pictures_from=pictures_from,
        progress=lambda done: update(2 + done, total, "comparing"),
    )  # fmt: skip
    report = msgspec.structs.replace(report, rounding=rounding or {})
    _keep_or_raise(report, folder, target)
    update(total - 2, total, "writing golden files")
    write_goldens(folder, reference, golden)
    manifest = write_manifest(folder, manifest)
    update(total - 1, total, "replaying them")
    verified = verify_bundle(open_bundle(folder))
    if not verified.passed:
        wrong = next(result for result in verified.golden if result.reason)
        raise CheckFailed(f"the finished bundle does not replay {wrong.name}: {wrong.reason}; nothing was written")
    update(total, total, "")
    return report, verified, manifest


def _gate(
    folder: Path,
    reference: Reference,
    head: HeadContract,
    pictures: Sequence[Picture],
    budget: Budget,
    *,
    described: str,
    pictures_from: str,
    progress: Callable[[int], None],
) -> ParityReport:
    """Runs the parity gate on the bundle in its temporary folder."""
    shipped = Shipped(open_bundle(folder))
    try:
        return run_gate(
            shipped, reference, head, pictures, budget,
            described=described, pictures_from=pictures_from, progress=progress,
        )  # fmt: skip
    except NonFiniteOutput as error:
        raise CheckFailed(
            f"the model puts out NaN or infinity ({error}): its weights are broken; train it again or take an "
            "earlier checkpoint"
        ) from error
    finally:
        shipped.close()


def _keep_or_raise(report: ParityReport, folder: Path, target: Path) -> None:
    """Saves the report in the bundle; where the gate failed, beside the name that stays unused, and raises."""
    data = msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
    beside = target.with_name(f"{target.name}.parity.json")
    if report.passed:
        (folder / "reports").mkdir()
        (folder / REPORT).write_bytes(data)
        beside.unlink(missing_ok=True)  # left by an earlier attempt
        return
    beside.write_bytes(data)
    failed = [verdict for verdict in report.verdicts if not verdict.passed]
    worst = failed[0]
    where = f" on picture '{worst.worst_picture}'" if worst.worst_picture else ""
    more = f" (and {', '.join(v.level for v in failed[1:])})" if len(failed) > 1 else ""
    raise ParityFailed(
        f"the bundle does not see what its reference sees, level '{worst.level}'{more}{where}: {worst.reason}. "
        f"No bundle was written; the full report is in {beside}",
        report,
        beside,
    )


def _class_names(model: nn.Module, classes: int) -> tuple[str, ...]:
    """Class names in the order of the head."""
    found = cast(Any, getattr(model, "names", None)) or {}
    table = dict(enumerate(found)) if isinstance(found, (list, tuple)) else dict(found)
    return tuple(str(table.get(index, index)) for index in range(classes))
