"""Rules about element types."""

from __future__ import annotations

from collections.abc import Iterator

from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.rules.operators import HALF, missing_types
from lineside.export.doctor.subject import GraphSubject

__all__ = ["RULES"]

ARITHMETIC = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that the time goes into."""


def _half(subject: GraphSubject) -> Iterator[Hit]:
    for place in subject.view.top:
        if place.node.op_type not in ARITHMETIC or place.domain:
            continue
        if subject.view.element_type(place.node.input[0]) in HALF and missing_types(subject, place):
            yield Hit("graph", {"target": f"{subject.target.runtime} {subject.target.version}"})


def _signed(subject: GraphSubject) -> Iterator[Hit]:
    """Activations quantised to signed bytes."""
    view = subject.view
    for place in view.top:
        node = place.node
        if node.op_type != "QuantizeLinear" or node.input[0] in view.initializers:
            continue
        zero = node.input[2] if len(node.input) > 2 else ""
        if zero and view.element_type(zero) == "int8":
            yield Hit("graph")


RULES = (
    Rule(
        id="half-arithmetic",
        looks_at="graph",
        severity="slow",
        find=_half,
        reason="{target} has no float16 kernels for convolutions and matrix products on a processor: it converts to float32 "
        "and back around each",
        remedy="store weights as FP16 and compute in FP32 (`lineside export --weights fp16`), and keep float16 arithmetic for "
        "engines with kernels for it",
        runtimes=("onnxruntime",),
    ),
    Rule(
        id="signed-activations",
        looks_at="graph",
        severity="slow",
        find=_signed,
        reason="activations are quantised to signed bytes, and the fast kernels of x86 multiply unsigned by signed ones: measured "
        "134 to 173 ms for YOLO11n-seg, against 21 to 24 ms with unsigned activations and 30 ms in float32",
        remedy="quantise activations to uint8 for processors; signed ones are TensorRT's form",
        runtimes=("onnxruntime",),
    ),
)
"""Rules about element types."""
