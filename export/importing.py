"""From a foreign ONNX file to a bundle: without its decode tail where that is proven to be safe, else as it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto

from lineside.export.borders import float_borders
from lineside.export.bundle import MODEL
from lineside.export.cut import WeightsStorage
from lineside.export.foreign import Foreign, load_onnx, metadata_of, recognise
from lineside.export.gate_pictures import gate_pictures
from lineside.export.graph.finish import tensor_shapes
from lineside.export.graph.folds import folded
from lineside.export.literals import literal
from lineside.export.oldest_onnxruntime import oldest_onnxruntime
from lineside.export.parity.budget import FP32, GRAPH_TIE, Budget
from lineside.export.parity.letterbox import place
from lineside.export.parity.plain_onnx import OnnxReference, plain_session, with_outputs
from lineside.export.parity.result import ParityReport
from lineside.export.pictures import Picture
from lineside.export.pinning import pinned, simplified
from lineside.export.prove import STEPS, Progress, prove
from lineside.export.provenance import tool_versions
from lineside.export.staging import check_target, staged
from lineside.export.tails.find import Tail, TailRecord, find_tail
from lineside.runtime.contract import HeadContract, InputContract
from lineside.runtime.errors import EngineFailed, ExportError
from lineside.runtime.manifest import Manifest, Provenance
from lineside.runtime.plain import indented
from lineside.runtime.verify import VerifyReport

__all__ = ["ImportRecord", "Imported", "import_onnx"]

RECORD = "reports/import.json"


class ImportRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was recognised in a foreign file and what was done to it: ``reports/import.json``.

    Attributes:
        form: Head contract of the graph as given, ``flat`` or ``end2end``.
        exporter: The program that wrote the file, by its own words.
        adapted: What was changed so that the runtime can feed and read the graph, one clause each.
        tail: What became of its decode tail.
    """

    form: str
    exporter: str
    adapted: tuple[str, ...]
    tail: TailRecord


@dataclass(frozen=True)
class Imported:
    """A bundle made from a foreign ONNX.

    Attributes:
        path: The bundle.
        manifest: Its manifest.
        parity: The runtime against the plain graph; there was no torch reference.
        verified: The replay of its golden files.
        record: What was recognised and done.
    """

    path: Path
    manifest: Manifest
    parity: ParityReport
    verified: VerifyReport
    record: ImportRecord


def import_onnx(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    imgsz: tuple[int, int] | None = None,
    batch: int | None = None,
    names: Sequence[str] | None = None,
    keep_tail: bool = False,
    images: str | os.PathLike[str] | None = None,
    force: bool = False,
    update: Progress = lambda done, total, note: None,
) -> Imported:
    """Makes a bundle of a foreign ONNX model.

    Args:
        model: What ``yolo export format=onnx`` wrote, or the like.
        out: Name of the bundle folder.
        imgsz: Height and width of the input, for a model with dynamic shapes; that of its metadata when None.
        batch: Pictures per run, for a model with dynamic shapes; 1 when None.
        names: Class names; those of its metadata when None.
        keep_tail: Let the graph run as it is, even where its decode tail could go.
        images: Folder with pictures to compare on; seeded drawings, and the photographs that installed packages
            carry, when None.
        force: Replace a bundle of that name.
        update: Called with steps done, steps in all, and what comes next.

    Returns:
        What was made.

    Raises:
        ExportError: It is no ONNX model, or none that the runtime can decode.
        BadOption: A size was asked for that the model does not have.
        ParityFailed: The runtime does not decode it as the plain graph says; nothing is left under the name.
        EngineError: onnxruntime refuses it.
        SinkError: The bundle cannot be written.
        SourceError: The pictures cannot be read.
    """
    source, target = Path(model), Path(out)
    check_target(target, force)
    update(0, STEPS, f"reading {source.name}")
    graph = load_onnx(source)
    adapted = float_borders(graph)
    fixed = pinned(graph, metadata_of(graph), imgsz, batch)
    foreign = recognise(graph, names)
    oldest_onnxruntime(graph)
    given = _serialised(graph)
    _check_outputs(given, graph, foreign.input)
    chosen = gate_pictures(foreign.names, images, FP32.pictures)
    pictures = chosen.gate
    update(1, STEPS + len(pictures), "looking for the decode tail")
    graph = simplified(graph) if fixed else graph
    tail = find_tail(given, graph, foreign, pictures, keep_tail)
    shipped, folds = folded(tail.graph.model) if tail.graph else (graph, ())
    record = ImportRecord(
        form=foreign.head.kind,
        exporter=_exporter(foreign.metadata, graph),
        adapted=(*adapted, *fixed, *folds),
        tail=tail.record,
    )
    head = tail.graph.head if tail.graph else foreign.head
    manifest = _manifest(target, source, shipped, foreign, head)
    reference, described = _reference(given, graph, foreign, tail)
    with staged(target, force) as folder:
        (folder / MODEL).write_bytes(_serialised(shipped))
        (folder / RECORD).parent.mkdir()
        (folder / RECORD).write_bytes(indented(record))
        report, verified, manifest = prove(
            folder,
            target,
            manifest,
            reference,
            pictures,
            pictures if images else [*chosen.golden, *chosen.settling],
            _budget(foreign, tail, pictures),
            described=described,
            pictures_from=chosen.described,
            update=update,
        )
    return Imported(target, manifest, report, verified, record)


def _check_outputs(given: bytes, graph: onnx.ModelProto, contract: InputContract) -> None:
    """An engine runs the graph, and its outputs are what the file says of them."""
    session = plain_session(given, optimise=False)
    try:
        found = session.run(None, {contract.name: np.zeros(contract.shape, np.float32)})
    except Exception as error:  # onnxruntime has a dozen exception types without a common base
        reason = str(error).strip().partition("\n")[0]
        raise EngineFailed(f"onnxruntime cannot run the model ({reason}): export it again") from error
    declared = tensor_shapes(graph.graph.output)
    for (name, shape), array in zip(declared.items(), found, strict=True):
        if shape != array.shape:
            raise ExportError(
                f"the file says that its output {name} is {list(shape)}, and it comes out as {list(array.shape)}: "
                "it was edited or is damaged, export it again"
            )


def _budget(foreign: Foreign, tail: Tail, pictures: Sequence[Picture]) -> Budget:
    """How far the runtime may be from the plain graph."""
    # An end-to-end head gives as many rows as it likes, and after its own threshold perhaps none for a picture.
    anchors = 0 if foreign.head.kind == "end2end" else FP32.anchors
    budget = msgspec.structs.replace(FP32, tie_score=GRAPH_TIE, anchors=anchors)
    if tail.graph is None or not tail.graph.half:
        return budget
    # Head tensors in float16 are known to one step of that type; half a step of the input's size covers what a box
    # makes of it, and is still finer than the boxes that the file's own tail put out.
    size = foreign.head.input_size
    gain = min(1.0, *(min(place((p.frame.shape[0], p.frame.shape[1]), size).gain) for p in pictures))
    return msgspec.structs.replace(budget, box_px=float(np.spacing(np.float16(max(size)))) / 2 / gain)


def _reference(given: bytes, graph: onnx.ModelProto, foreign: Foreign, tail: Tail) -> tuple[OnnxReference, str]:
    """What the bundle must agree with, and what that is in words."""
    cut = tail.graph
    quantised = any("QuantizeLinear" in node.op_type or node.op_type.startswith("QLinear") for node in graph.graph.node)
    optimise = foreign.head.kind == "end2end" or _storage(graph) == "fp16" or quantised
    described = (
        f"the graph as given, onnxruntime {tool_versions().get('onnxruntime', '?')}"
        f"{'' if optimise else ' without optimisations'}; no torch reference"
    )
    if cut is None:
        return OnnxReference(given, foreign.head, foreign.input.batch, optimise), described
    own = onnx.ModelProto.FromString(given)
    inside = {name for node in own.graph.node for name in node.output}
    whole = own if inside.issuperset(cut.taps) else graph  # onnxslim may have renamed what it computed
    data = with_outputs(whole, cut.taps)
    reference = OnnxReference(
        data, foreign.head, foreign.input.batch, optimise, levels=cut.head, taps=cut.taps, from_taps=cut.half
    )
    return reference, described + (", its float16 tail decoded in float64" if cut.half else "")


def _serialised(model: onnx.ModelProto) -> bytes:
    """The content of a model file."""
    try:
        data: bytes = model.SerializeToString()
    except Exception as error:  # protobuf refuses beyond 2 GB
        raise ExportError(
            f"the model with its weights does not fit one file ({str(error).strip() or type(error).__name__}): "
            "no YOLO model is that large; give another"
        ) from error
    return data


def _manifest(target: Path, source: Path, graph: onnx.ModelProto, foreign: Foreign, head: HeadContract) -> Manifest:
    """The manifest, without hashes of the files."""
    return Manifest(
        name=target.name.removesuffix(".bundle"),
        task="segment" if foreign.head.coefficients else "detect",
        names=foreign.names,
        input=foreign.input,
        head=head,
        model=MODEL,
        weights_storage=_storage(graph),
        opset=foreign.opset,
        custom_ops=tuple(sorted({function.name for function in graph.functions})),
        min_onnxruntime=oldest_onnxruntime(graph),
        provenance=_provenance(source, foreign.metadata, graph),
    )


def _provenance(source: Path, metadata: Mapping[str, str], graph: onnx.ModelProto) -> Provenance:
    """Where a foreign model comes from, by its own words."""
    arguments = literal(metadata.get("args"))
    data = arguments.get("data") if isinstance(arguments, dict) else None
    claim = metadata.get("license", "")
    tools = tool_versions()
    tools["exporter"] = _exporter(metadata, graph)
    return Provenance(
        model=str(metadata.get("description", "")),
        weights=source.name,
        weights_sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
        dataset=Path(str(data)).name if data else "",
        licence=f"{claim.split()[0]} ({metadata.get('author', 'exporter')}'s claim)" if claim.split() else "",
        tools=tools,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _exporter(metadata: Mapping[str, str], graph: onnx.ModelProto) -> str:
    """The program that wrote the file, by its own words."""
    producer = " ".join(part for part in (metadata.get("author"), metadata.get("version")) if part)
    return producer or f"{graph.producer_name} {graph.producer_version}".strip() or "unknown"


def _storage(graph: onnx.ModelProto) -> WeightsStorage:
    """Element type of most weights."""
    sizes = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0}
    for tensor in graph.graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type] += int(np.prod(tensor.dims, dtype=np.int64))
    return "fp16" if sizes[TensorProto.FLOAT16] > sizes[TensorProto.FLOAT] else "fp32"
