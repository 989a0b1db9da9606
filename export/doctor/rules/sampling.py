"""Rules about operators that sample between pixels, and about folding patches."""

from __future__ import annotations

from collections.abc import Iterator

from lineside.export.doctor.graph_view import attribute
from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.subject import GraphSubject

__all__ = ["RULES"]


def _uncropped(subject: GraphSubject) -> Iterator[Hit]:
    """Deformable convolutions whose offsets have another size than what they put out."""
    view = subject.view
    for place in view.top:
        node = place.node
        if node.op_type != "DeformConv" or place.domain or len(node.input) < 3:
            continue
        x, weight, offset = (view.shape(name) for name in node.input[:3])
        if not (x and weight and offset) or len(x) != 4:
            continue
        wanted = tuple(_side(place.node, x[axis], weight[axis], axis - 2) for axis in (2, 3))
        if None not in (*wanted, *offset[2:]) and wanted != tuple(offset[2:]):
            yield Hit(place.where, {"offset": _size(offset[2:]), "output": _size(wanted)})


def _side(node: object, side: int | None, kernel: int | None, axis: int) -> int | None:
    """Side of the output of a convolution."""
    if side is None or kernel is None:
        return None
    strides, pads, dilations = (
        attribute(node, name) or usual  # type: ignore[arg-type]
        for name, usual in (("strides", [1, 1]), ("pads", [0] * 4), ("dilations", [1, 1]))
    )
    if len(strides) != 2 or len(dilations) != 2 or len(pads) != 4 or min(strides) < 1:  # type: ignore[arg-type,call-overload]
        return None
    span = (kernel - 1) * dilations[axis] + 1  # type: ignore[index]
    return int((side + pads[axis] + pads[axis + 2] - span) // strides[axis] + 1)  # type: ignore[index]


def _size(sides: object) -> str:
    return "x".join(map(str, sides))  # type: ignore[call-overload]


def _volumes(subject: GraphSubject) -> Iterator[Hit]:
    for place in subject.view.top:
        if place.node.op_type == "GridSample" and not place.domain:
            shape = subject.view.shape(place.node.input[0])
            if shape is not None and len(shape) == 5:
                yield Hit(place.where, {"target": f"{subject.target.runtime} {subject.target.version}"})


def _volumes_refused(subject: GraphSubject) -> Iterator[Hit]:
    return () if subject.target.grid_sample_5d else _volumes(subject)  # type: ignore[return-value]


def _volumes_run(subject: GraphSubject) -> Iterator[Hit]:
    return _volumes(subject) if subject.target.grid_sample_5d else ()  # type: ignore[return-value]


def _fold(subject: GraphSubject) -> Iterator[Hit]:
    return (Hit(it.where) for it in subject.view.places if it.node.op_type == "Col2Im" and not it.domain)


RULES = (
    Rule(
        id="uncropped-offsets",
        looks_at="graph",
        severity="cannot-run",
        find=_uncropped,
        reason="its offsets are a map of {offset} and its output is one of {output}; torch's own kernels read past that, "
        "DeformConv refuses to run",
        remedy="crop the offsets to the size of the output (DyHead: high_level_offset='crop'), or take their first values as "
        "upstream does ('flat_prefix')",
    ),
    Rule(
        id="volume-sampling-refused",
        looks_at="graph",
        severity="cannot-run",
        find=_volumes_refused,
        reason="{target} samples pictures, not volumes: GridSample with 5 dimensions",
        remedy="sample level by level, one GridSample of 4 dimensions each",
    ),
    Rule(
        id="volume-sampling",
        looks_at="graph",
        severity="note",
        find=_volumes_run,
        reason="GridSample with 5 dimensions: {target} runs it, TensorRT knows 4 only",
        remedy="sample level by level where the model shall run there as well",
    ),
    Rule(
        id="fold-of-patches",
        looks_at="graph",
        severity="slow",
        find=_fold,
        reason="Col2Im (torch's fold) adds patches on one thread, and TensorRT has no such operator",
        remedy="write it as a transposed convolution, or as shifted slices that are added",
    ),
)
"""Rules about sampling."""
