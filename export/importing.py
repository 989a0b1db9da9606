"""From a foreign ONNX file to a bundle; the graph runs as it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto

from lineside.export.bundle import MODEL
from lineside.export.cut import WeightsStorage
from lineside.export.foreign import Foreign, literal, load_onnx, recognise
from lineside.export.parity.budget import FP32
from lineside.export.parity.plain_onnx import OnnxReference
from lineside.export.parity.result import ParityReport
from lineside.export.pictures import drawn_pictures, golden_drawings, read_pictures
from lineside.export.prove import Progress, prove
from lineside.export.provenance import tool_versions
from lineside.export.staging import check_target, staged
from lineside.runtime.bundle import write_manifest
from lineside.runtime.errors import ExportError
from lineside.runtime.manifest import Manifest, Provenance
from lineside.runtime.verify import VerifyReport

__all__ = ["Imported", "import_onnx"]

ONNXRUNTIME_OF_OPSET = {19: "1.17", 20: "1.17", 21: "1.18", 22: "1.20", 23: "1.23"}
"""First onnxruntime that runs an opset; up to 18 the oldest that Lineside supports does."""

ONNXRUNTIME_OF_IR = {10: "1.18", 11: "1.22", 12: "1.23"}
"""First onnxruntime that reads a version of the file format; up to 9 the oldest that Lineside supports does."""

OLDEST = "1.17"

TIE_SCORE = 1e-6
"""Probabilities that come out of a graph are known to about 1e-7."""


@dataclass(frozen=True)
class Imported:
    """A bundle made from a foreign ONNX.

    Attributes:
        path: The bundle.
        manifest: Its manifest.
        parity: The runtime against the plain graph; there was no torch reference.
        verified: The replay of its golden files.
    """

    path: Path
    manifest: Manifest
    parity: ParityReport
    verified: VerifyReport


def import_onnx(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    force: bool = False,
    update: Progress = lambda done, total, note: None,
) -> Imported:
    """Makes a bundle of a foreign ONNX model.

    Args:
        model: What ``yolo export format=onnx`` wrote, or the like; static shapes.
        out: Name of the bundle folder.
        images: Folder with pictures to compare on; seeded drawings when None.
        force: Replace a bundle of that name.
        update: Called with steps done, steps in all, and what comes next.

    Returns:
        What was made.

    Raises:
        ExportError: It is no ONNX model, or none that the runtime can decode.
        ParityFailed: The runtime does not decode it as the plain graph says; nothing is left under the name.
        EngineError: onnxruntime refuses it.
        SinkError: The bundle cannot be written.
        SourceError: The pictures cannot be read.
    """
    source, target = Path(model), Path(out)
    check_target(target, force)
    update(0, 4, f"reading {source.name}")
    graph = load_onnx(source)
    foreign = recognise(graph)
    end2end = foreign.head.kind == "end2end"
    # An end-to-end head gives as many rows as it likes, and after its own threshold perhaps none for a picture.
    budget = msgspec.structs.replace(FP32, tie_score=TIE_SCORE, anchors=0 if end2end else FP32.anchors)
    pictures = read_pictures(images, budget.pictures) if images else drawn_pictures(foreign.names)
    data = graph.SerializeToString()
    manifest = _manifest(target, source, graph, foreign)
    optimise = end2end or manifest.weights_storage == "fp16"
    with staged(target, force) as folder:
        (folder / MODEL).write_bytes(data)
        write_manifest(folder, manifest)
        report, verified, manifest = prove(
            folder,
            target,
            manifest,
            OnnxReference(data, foreign.head, foreign.input.batch, optimise),
            pictures,
            pictures if images else [*golden_drawings(foreign.names), *pictures],
            budget,
            described=f"the graph as given, onnxruntime {tool_versions().get('onnxruntime', '?')}"
            f"{'' if optimise else ' without optimisations'}; no torch reference",
            pictures_from=Path(images).name if images else "drawings of the task",
            update=update,
        )
    return Imported(target, manifest, report, verified)


def _manifest(target: Path, source: Path, graph: onnx.ModelProto, foreign: Foreign) -> Manifest:
    """The manifest, without hashes of the files."""
    return Manifest(
        name=target.name.removesuffix(".bundle"),
        task="segment" if foreign.head.coefficients else "detect",
        names=foreign.names,
        input=foreign.input,
        head=foreign.head,
        model=MODEL,
        weights_storage=_storage(graph),
        opset=foreign.opset,
        custom_ops=tuple(sorted({function.name for function in graph.functions})),
        min_onnxruntime=_oldest_onnxruntime(foreign.opset, graph.ir_version),
        provenance=_provenance(source, foreign.metadata, graph),
    )


def _provenance(source: Path, metadata: Mapping[str, str], graph: onnx.ModelProto) -> Provenance:
    """Where a foreign model comes from, by its own words."""
    arguments = literal(metadata.get("args"))
    data = arguments.get("data") if isinstance(arguments, dict) else None
    claim = metadata.get("license", "")
    producer = " ".join(part for part in (metadata.get("author"), metadata.get("version")) if part)
    tools = tool_versions()
    tools["exporter"] = producer or f"{graph.producer_name} {graph.producer_version}".strip() or "unknown"
    return Provenance(
        model=str(metadata.get("description", "")),
        weights=source.name,
        weights_sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
        dataset=Path(str(data)).name if data else "",
        licence=f"{claim.split()[0]} ({metadata.get('author', 'exporter')}'s claim)" if claim.split() else "",
        tools=tools,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _storage(graph: onnx.ModelProto) -> WeightsStorage:
    """Element type of most weights."""
    sizes = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0}
    for tensor in graph.graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type] += int(np.prod(tensor.dims, dtype=np.int64))
    return "fp16" if sizes[TensorProto.FLOAT16] > sizes[TensorProto.FLOAT] else "fp32"


def _oldest_onnxruntime(opset: int, ir_version: int) -> str:
    """First onnxruntime that runs such a file."""
    if opset > max(ONNXRUNTIME_OF_OPSET) or ir_version > max(ONNXRUNTIME_OF_IR):
        raise ExportError(
            f"the model has opset {opset} and IR version {ir_version}, newer than Lineside knows "
            f"({max(ONNXRUNTIME_OF_OPSET)} and {max(ONNXRUNTIME_OF_IR)}): export it with an older opset, such as 18"
        )
    needed = [OLDEST, ONNXRUNTIME_OF_OPSET.get(opset, OLDEST), ONNXRUNTIME_OF_IR.get(ir_version, OLDEST)]
    return max(needed, key=lambda text: tuple(map(int, text.split("."))))
