"""Examines weights, a model yaml, an ONNX or a bundle, and says what a target makes of it; seconds, no pictures."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto
from torch import nn

from lineside.export.blocks import UserBlocks, load_blocks
from lineside.export.bundle import DEFAULT_IMGSZ, build_graph
from lineside.export.checkpoint import warn_of_pickle
from lineside.export.class_paths import class_paths, foreign, installed, missing
from lineside.export.cut import cut_tail, fused
from lineside.export.doctor.graph_view import GraphView
from lineside.export.doctor.module_view import walk
from lineside.export.doctor.report import Report
from lineside.export.doctor.rule import BLOCKING, Finding, Rule, apply
from lineside.export.doctor.rules.operators import TORCH
from lineside.export.doctor.rules.table import all_rules
from lineside.export.doctor.subject import GraphSubject, ManifestSubject, ModuleSubject, WeightsSubject
from lineside.export.doctor.target import Target, find_target
from lineside.export.foreign import load_onnx
from lineside.export.heads import find_head, supported_heads
from lineside.export.ops.native_deform import Deform
from lineside.export.provenance import checkpoint_facts
from lineside.export.trace import to_onnx
from lineside.export.ultra import is_structure, load_model, prepare
from lineside.runtime.bundle import Bundle, open_bundle
from lineside.runtime.errors import ExportError, LinesideError, WeightsError

__all__ = ["examine"]

TASKS = ("segment", "detect", "pose", "obb", "classify", "semantic")
"""All tasks that a checkpoint may be for; which of them export knows is for the rules to say."""


def examine(
    model: str,
    target: str = "onnxruntime",
    *,
    imgsz: tuple[int, int] | None = None,
    dynamic: bool = False,
    end2end: bool = False,
    deform: Deform = "portable",
    modules: Sequence[str] = (),
    safe: bool = False,
) -> Report:
    """Examines a model.

    Args:
        model: A ``.pt`` checkpoint, its ``.safetensors`` copy, a model yaml, an ``.onnx`` file, or a bundle.
        target: Name of what is to run it; see `lineside.export.doctor.target.find_target`.
        imgsz: Height and width of the input in pixels, for weights; as trained (else 640, square) when None.
        dynamic: Input sizes are to stay free, for weights.
        end2end: The one-to-one part of the head is to be exported, for weights.
        deform: Form of deformable convolutions, for weights.
        modules: Files and packages with blocks of the user's own.
        safe: Load a checkpoint without running foreign code.

    Returns:
        What was found. Weights are traced, and nothing else is run.

    Raises:
        BadOption: There is no such target.
        WeightsError: The file is missing, or holds no model.
        ExportError: The file is no whole ONNX model.
        BundleError: The bundle cannot be opened.
    """
    chosen, rules = find_target(target), all_rules()
    path = Path(model)
    if path.suffix.lower() == ".onnx":
        return _examine_onnx(path, chosen, rules)
    if path.is_dir() or path.suffix.lower() in {".zip", ".bundle"}:
        return _examine_bundle(open_bundle(path), chosen, rules)
    prepare()
    blocks = load_blocks(modules, [it.module for it in class_paths(model)])
    if not safe:
        warn_of_pickle(model)  # before the modules that it names are looked for, which imports them
    found = apply(rules, "weights", _weights_subject(model, safe, blocks), chosen.runtime)
    if _blocked(found):
        return Report.of(model, "weights", chosen.name, chosen.version, found)
    loaded = load_model(model, safe=safe, tasks=TASKS, blocks=blocks)
    size = imgsz or (_trained_size(model, safe, blocks) or DEFAULT_IMGSZ,) * 2
    found += apply(
        rules, "module", ModuleSubject(loaded, size, dynamic, end2end, walk(loaded, size, end2end)), chosen.runtime
    )
    nodes = 0
    if not _blocked(found):
        more, nodes = _examine_traced(loaded, size, end2end, deform, chosen, rules)
        found += more
    return Report.of(model, "weights", chosen.name, chosen.version, found, nodes)


def _blocked(findings: Sequence[Finding]) -> bool:
    return any(finding.severity in BLOCKING for finding in findings)


def _trained_size(model: str, safe: bool, blocks: UserBlocks) -> int | None:
    """Input size that a checkpoint was trained with."""
    return None if is_structure(model) else checkpoint_facts(model, safe, blocks).imgsz


def _weights_subject(model: str, safe: bool, blocks: UserBlocks) -> WeightsSubject:
    """What can be said of weights without loading them."""
    path = Path(model)
    if is_structure(path):
        return _structure_subject(model, safe, blocks)
    named = class_paths(path) if path.suffix.lower() == ".pt" and path.is_file() else ()
    own = {name for source in blocks.sources for name in source.modules}
    strange = tuple(it for it in foreign(named) if it.module not in own and blocks.find(it.module, it.name) is None)
    absent: tuple[str, ...] = ()
    if strange and not safe:
        with installed(blocks, named, safe):
            absent = tuple(map(str, missing(named)))
    return WeightsSubject(path, safe, strange, absent, blocks.described())


def _structure_subject(model: str, safe: bool, blocks: UserBlocks) -> WeightsSubject:
    """What the rows of a model yaml name."""
    from lineside.export.yolo.table import BLOCKS, is_ours

    tasks = importlib.import_module("ultralytics.nn.tasks")
    try:
        config: Any = tasks.yaml_model_load(model)
        rows = [row for part in ("backbone", "head") for row in config[part]]
        names = [str(row[2]) for row in rows]
    except Exception:  # load_model says in words what is wrong with it
        return WeightsSubject(Path(model), safe)
    known = set(vars(tasks)) | set(blocks.modules())
    absent = {name: None for name in names if "." not in name and name not in known and not is_ours(name)}
    heads = (*supported_heads(), *BLOCKS, *blocks.modules(), *absent)
    return WeightsSubject(Path(model), safe, (), tuple(absent), blocks.described(), names[-1] if names else "", heads)


def _examine_traced(
    model: nn.Module,
    size: tuple[int, int],
    end2end: bool,
    deform: Deform,
    target: Target,
    rules: Sequence[Rule],
) -> tuple[list[Finding], int]:
    """The graph that export would make, or the raw trace where it cannot make one."""
    head = find_head(model, size, end2end).contract
    plain = fused(model, end2end)
    try:
        # First as torch writes it, with the operators that have no ONNX form: the trace that export makes stops at one.
        graph = to_onnx(cut_tail(plain, size, end2end), (1, 3, *size), head.output_names, leave_unknown=True)
        if not any(node.domain in TORCH for node in graph.graph.node):
            names = [str(index) for index in range(head.classes)]
            graph, _ = build_graph(plain, head, 1, names, "fp32", deform=deform)
    except ExportError as error:
        return [_refusal(str(error))], 0
    view = GraphView(graph)
    return _look(GraphSubject(view, target, traced=True), rules), len(view.places)


def _look(subject: GraphSubject, rules: Sequence[Rule]) -> list[Finding]:
    """Applies the rules about graphs; where it is none, those that would walk through it are left out."""
    runtime = subject.target.runtime
    return apply(rules, "structure", subject, runtime) or apply(rules, "graph", subject, runtime)


def _refusal(text: str) -> Finding:
    """What export itself says, where no rule knows why."""
    return Finding(
        rule="export-refuses",
        severity="will-not-export",
        where=("model",),
        reason=text,
        remedy="correct that first: export says the same",
    )


def _examine_onnx(path: Path, target: Target, rules: Sequence[Rule]) -> Report:
    """An ONNX file, as it is."""
    external = _external_files(path)
    try:
        model = load_onnx(path)
    except ExportError:
        if all(there for _, there in external):
            raise
        model = onnx.load(path, load_external_data=False)
    view = GraphView(model)
    found = _look(GraphSubject(view, target, external=external), rules)
    return Report.of(str(path), "onnx", target.name, target.version, found, len(view.places))


def _external_files(path: Path) -> list[tuple[str, bool]]:
    """Files beside that hold weights of a model, and whether they are there."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # load_onnx says in words what is wrong with it
        return []
    names = {
        entry.value: None
        for tensor in model.graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return [(name, (path.parent / name).is_file()) for name in names]


def _examine_bundle(bundle: Bundle, target: Target, rules: Sequence[Rule]) -> Report:
    """A bundle: its manifest and its portable model."""
    found = apply(rules, "manifest", ManifestSubject(bundle.manifest, target), target.runtime)
    try:
        model = onnx.load_from_string(bundle.read(bundle.manifest.model))
    except LinesideError:
        raise
    except Exception as error:  # protobuf raises what it likes
        raise WeightsError(
            f"{bundle.manifest.model} in {bundle.path} is no ONNX model: export the bundle again"
        ) from error
    view = GraphView(model)
    found += _look(GraphSubject(view, target), rules)
    return Report.of(str(bundle.path), "bundle", target.name, target.version, found, len(view.places))
