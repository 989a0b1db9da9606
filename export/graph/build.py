"""Turns a fused model into the graph of a bundle."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from torch import nn

from lineside.export.cut import WeightsStorage, cut_tail
from lineside.export.graph.finish import Sides, finish
from lineside.export.graph.folds import FOLDS
from lineside.export.graph.half_weights import STORE_HALF
from lineside.export.graph.passes import PassRecord, run_passes
from lineside.export.graph.simplify import SIMPLIFY, SIMPLIFY_DYNAMIC
from lineside.export.heads import END2END_ROWS
from lineside.export.ops.declare import DECLARE
from lineside.export.ops.native_deform import NATIVE_DEFORM, NATIVE_OPSET, Deform
from lineside.export.trace import INPUT, OPSET, free_sides, to_onnx
from lineside.runtime.contract import HeadContract

__all__ = ["build_graph", "opset_of"]


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
        deform: Form of deformable convolutions; see `lineside.export.bundle.export_bundle`.

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
    traced = to_onnx(cut, shape, head.output_names, opset_of(deform), free=sides if dynamic else None)
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


def opset_of(deform: Deform) -> int:
    """Opset of the graph: that of every export, unless an operator of a later one is asked for."""
    return NATIVE_OPSET if deform == "native" else OPSET
