"""Rules about operators that sample between pixels, and about folding patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from lineside.export.doctor.graph_view import GraphView, Place, attribute
from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.subject import GraphSubject
from lineside.export.ops.op import DOMAIN

__all__ = ["MANY_SAMPLES", "RULES", "SAMPLED", "SLOW_KERNEL"]

Sides = tuple[int, ...]

MANY_SAMPLES = 1 << 18
"""Values sampled between pixels in one run from which on a slow kernel is felt: about 4 ms of one x86-64 thread with
onnxruntime 1.23. The attention of yolo11n-seg-msda samples 6.5 million at 640 pixels."""

SLOW_KERNEL = 1.0
"""A kernel that is slow: `Target.grid_sample_over_gather` of this or more, so that it loses against having none."""


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


def _size_of(y: Sides) -> int:
    """GridSample: all of its output."""
    return math.prod(y)


def _points(value: Sides, sizes: Sides, starts: Sides, places: Sides, weights: Sides) -> int:
    """Multi-scale deformable attention: the channels of a head at every point of every level."""
    return math.prod(places[:-1]) * value[3]


def _taps(x: Sides, offset: Sides, mask: Sides, weight: Sides, bias: Sides = ()) -> int:
    """Deformable convolution: every channel at every tap of every place."""
    return math.prod((*x[:2], *weight[2:], *offset[2:]))


SAMPLED: Mapping[str, Callable[..., int]] = {"MSDeformAttn": _points, "ModDeformConv2d": _taps}
"""How many values our operators sample, by their names without configuration, from the shapes of their inputs; the
operators themselves would bring torch along."""


def _slowly(subject: GraphSubject) -> Iterator[Hit]:
    """Where many values are sampled by a target that is slow at it; the many may be those of all places together."""
    if subject.target.grid_sample_over_gather < SLOW_KERNEL:
        return
    counts = [(place, _samples(subject.view, place)) for place in subject.view.top]
    total = sum(count for _, count in counts)
    if total < MANY_SAMPLES:
        return
    details = {
        "millions": f"{total / 1e6:.1f}",
        "target": f"{subject.target.runtime} {subject.target.version}",
        "ratio": f"{subject.target.grid_sample_over_gather:g}",
    }
    yield from (Hit(place.where, details) for place, count in counts if count)


def _samples(view: GraphView, place: Place) -> int:
    """How many values a node samples between pixels; 0 where it samples none, or a shape is not known."""
    kind, node = place.node.op_type, place.node
    if kind == "GridSample" and not place.domain:
        count: Callable[..., int] | None = _size_of
        names = list(node.output)
    else:
        count = SAMPLED.get(kind.partition("_")[0]) if place.domain == DOMAIN else None
        names = list(node.input)
    shapes = [view.shape(name) for name in names] if count else []
    if count is None or any(shape is None or None in shape for shape in shapes):
        return 0
    return count(*shapes)


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
        id="slow-sampling",
        looks_at="graph",
        severity="slow",
        find=_slowly,
        reason="{millions} million values are sampled between pixels, and {target} takes {ratio} times as long for it as it "
        "would to gather, weigh and add up the four pixels around each by other operators",
        remedy="run it with a newer onnxruntime (1.31 is several times as fast at it), or sample less: fewer points, fewer "
        "channels, coarser maps",
        runtimes=("onnxruntime",),
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
