"""Examines weights or a model yaml: what they name, the torch modules, and the graph that export would make."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from lineside.export.blocks import UserBlocks, load_blocks
from lineside.export.checkpoint import safe_copy, warn_of_pickle
from lineside.export.class_paths import class_paths, foreign, installed, missing
from lineside.export.cut import cut_tail, fused
from lineside.export.doctor.files import look
from lineside.export.doctor.frozen import frozen_numbers
from lineside.export.doctor.graph_view import GraphView
from lineside.export.doctor.module_view import followed, walk
from lineside.export.doctor.report import Report
from lineside.export.doctor.rule import BLOCKING, Finding, Rule, apply
from lineside.export.doctor.rules.operators import TORCH
from lineside.export.doctor.subject import GraphSubject, ModuleSubject, WeightsSubject
from lineside.export.doctor.target import Target
from lineside.export.graph.build import build_graph
from lineside.export.heads import find_head, supported_heads
from lineside.export.hostile_names import hostile
from lineside.export.ops.native_deform import Deform
from lineside.export.provenance import checkpoint_facts
from lineside.export.subject import DEFAULT_IMGSZ
from lineside.export.trace import to_onnx
from lineside.export.ultra import is_structure, load_model, prepare
from lineside.runtime.errors import ExportError, LinesideError

__all__ = ["Ask", "examine_weights"]

TASKS = ("segment", "detect", "pose", "obb", "classify", "semantic")
"""All tasks that a checkpoint may be for; which of them export knows is for the rules to say."""


@dataclass(frozen=True)
class Ask:
    """What is asked of weights beside what target they are for; see `lineside.export.doctor.examine.examine`."""

    imgsz: tuple[int, int] | None = None
    dynamic: bool = False
    end2end: bool = False
    deform: Deform = "portable"
    modules: Sequence[str] = ()
    safe: bool = False


def examine_weights(model: str, ask: Ask, target: Target, rules: Sequence[Rule]) -> Report:
    """Examines weights or a model yaml.

    Args:
        model: A ``.pt`` checkpoint, its ``.safetensors`` copy, or a model yaml.
        ask: How it is to be exported.
        target: What is to run it.
        rules: All rules.

    Raises:
        BadOption: One of the modules cannot be imported.
        WeightsError: The file is missing, or holds no model.
    """
    prepare()
    # With --safe the copy is what export loads, so the pickle beside it is of no interest.
    weights = str((safe_copy(model) if ask.safe else None) or model)
    blocks = load_blocks(ask.modules, [it.module for it in class_paths(weights)])
    if not ask.safe:
        warn_of_pickle(weights)  # before the modules that it names are looked for, which imports them
    found = apply(rules, "weights", _weights_subject(weights, ask.safe, blocks), target.runtime)
    if _blocked(found):
        return Report.of(model, "weights", target.name, target.version, found)
    loaded = load_model(weights, safe=ask.safe, tasks=TASKS, blocks=blocks)
    size = ask.imgsz or (_trained_size(weights, ask.safe, blocks) or DEFAULT_IMGSZ,) * 2
    plain = fused(loaded, ask.end2end)
    seen = walk(plain, size, ask.end2end)  # what runs is the fused form, and it has half as many steps
    if seen.failure:
        seen = replace(seen, frozen=frozen_numbers(plain, size, ask.end2end))
    found += apply(rules, "module", ModuleSubject(loaded, size, ask.dynamic, ask.end2end, seen), target.runtime)
    nodes = 0
    if not _blocked(found):
        more, nodes = _examine_traced(loaded, plain, size, ask, target, rules)
        found += more
    return Report.of(model, "weights", target.name, target.version, found, nodes)


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
    named = class_paths(path) if path.suffix.lower() == ".pt" else ()
    unsafe = hostile(named)
    own = {name for source in blocks.sources for name in source.modules}
    strange = tuple(it for it in foreign(named) if it.module not in own and blocks.find(it.module, it.name) is None)
    absent: tuple[str, ...] = ()
    if strange and not safe and not unsafe:  # looking for one imports the module that it names
        with installed(blocks, named, safe):
            absent = tuple(map(str, missing(named)))
    return WeightsSubject(path, safe, strange, absent, blocks.described(), hostile=unsafe)


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
    model: nn.Module, plain: nn.Module, size: tuple[int, int], ask: Ask, target: Target, rules: Sequence[Rule]
) -> tuple[list[Finding], int]:
    """The graph that export would make, or the raw trace where it cannot make one."""
    head = find_head(model, size, ask.end2end).contract
    names = [str(index) for index in range(head.classes)]
    path = [""]
    try:
        with followed(plain, {}, path):
            graph, _ = build_graph(plain, head, 1, names, "fp32", ask.dynamic, ask.deform)
    except ExportError as error:
        traced = _with_unknown(plain, size, ask.end2end, head.output_names)
        if traced is None:
            return [_refusal(str(error), path[-1] or "model")], 0
        graph = traced
    view = GraphView(graph)
    return look(GraphSubject(view, target, traced=True), rules), len(view.places)


def _with_unknown(
    plain: nn.Module, size: tuple[int, int], end2end: bool, outputs: Sequence[str]
) -> onnx.ModelProto | None:
    """The graph as torch writes it, with the operators in it that have no ONNX form; None where there are none such."""
    try:
        graph = to_onnx(cut_tail(plain, size, end2end), (1, 3, *size), outputs, leave_unknown=True)
    except LinesideError:
        return None
    return graph if any(node.domain in TORCH for node in graph.graph.node) else None


def _refusal(text: str, where: str) -> Finding:
    """What export itself says, where no rule knows why."""
    return Finding(
        rule="export-refuses",
        severity="will-not-export",
        where=(where,),
        reason=text,
        remedy="correct that first: export says the same",
    )
