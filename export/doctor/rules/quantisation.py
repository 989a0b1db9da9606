"""Rules about quantised tensors and element types, for targets that take few forms of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from onnx import TensorProto, defs, numpy_helper

from lineside.export.doctor.graph_view import KINDS, Place, attribute
from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.subject import GraphSubject

__all__ = ["RULES"]

QUANTISING = ("QuantizeLinear", "DequantizeLinear")

FLOATING = frozenset({"float", "float16", "bfloat16", "double"})

NO_TYPE = frozenset({"int16", "uint16", "uint32", "uint64", "string", "complex64", "complex128"})
"""Element types that TensorRT has no word for."""

LARGE = 1 << 24
"""Values of a zero point beyond which it is not looked at."""


def _quantising(subject: GraphSubject, rule: str) -> Iterator[Place]:
    """Nodes of the main graph that quantise or undo it, where the target has the lack."""
    if rule in subject.target.lacks:
        yield from (it for it in subject.view.top if it.node.op_type in QUANTISING and not it.domain)


def _details(subject: GraphSubject, place: Place) -> dict[str, object]:
    return {"op": place.node.op_type, "target": f"{subject.target.runtime} {subject.target.version}"}


def _zero(place: Place) -> str:
    """Name of a node's zero point; empty where it has none."""
    return place.node.input[2] if len(place.node.input) > 2 else ""


def _shifted(subject: GraphSubject) -> Iterator[Hit]:
    for place in _quantising(subject, "asymmetric-quantisation"):
        tensor = subject.view.initializers.get(_zero(place))
        if tensor is None or tensor.external_data or math.prod(tensor.dims) > LARGE:
            continue
        if numpy_helper.to_array(tensor).astype("float64").any():
            yield Hit(place.where, _details(subject, place))


def _kind(subject: GraphSubject, place: Place) -> str | None:
    """Element type of the quantised side of a node."""
    node = place.node
    if node.op_type == "DequantizeLinear":
        return subject.view.element_type(node.input[0])
    if _zero(place):
        return subject.view.element_type(_zero(place))
    return KINDS.get(int(attribute(node, "output_dtype") or TensorProto.UINT8))  # type: ignore[call-overload]


def _unsigned(subject: GraphSubject) -> Iterator[Hit]:
    for place in _quantising(subject, "unsigned-quantisation"):
        lone = place.node.op_type == "QuantizeLinear" and not _zero(
            place
        )  # by the standard uint8, as written often int8
        if not lone and _kind(subject, place) == "uint8":
            yield Hit(place.where, _details(subject, place))


def _bias(subject: GraphSubject) -> Iterator[Hit]:
    for place in _quantising(subject, "quantised-bias"):
        if place.node.op_type == "DequantizeLinear" and _kind(subject, place) == "int32":
            yield Hit(place.where, _details(subject, place))


def _mixed(subject: GraphSubject) -> Iterator[Hit]:
    """Nodes whose inputs the standard wants of one floating type, and that have two."""
    if "mixed-types" not in subject.target.lacks:
        return
    for place in subject.view.top:
        schema = None if place.domain else subject.view.schema(place, subject.opset(place))
        if schema is None:
            continue
        for kinds in _by_parameter(subject, place, schema):
            if len(kinds) > 1:
                details = _details(subject, place) | {"kinds": " and ".join(sorted(kinds))}
                yield Hit(place.where, details)


def _by_parameter(subject: GraphSubject, place: Place, schema: defs.OpSchema) -> Iterator[set[str]]:
    """Floating element types of the inputs of a node that share a type parameter."""
    kinds: dict[str, set[str]] = {}
    for index, name in enumerate(place.node.input):
        formal = schema.inputs[min(index, len(schema.inputs) - 1)] if schema.inputs else None
        kind = subject.view.element_type(name) if name else None
        if formal is not None and formal.is_homogeneous and kind in FLOATING:
            kinds.setdefault(formal.type_str, set()).add(str(kind))
    yield from kinds.values()


def _typeless(subject: GraphSubject) -> Iterator[Hit]:
    """Tensors of types that the target does not know, and unsigned bytes that are neither input nor output."""
    if "element-type" not in subject.target.lacks:
        return
    view = subject.view
    graph = view.model.graph
    ends = {value.name for value in (*graph.input, *graph.output)} | {""}
    for place in view.top:
        if place.node.op_type in QUANTISING:
            names = [name for name in (*place.node.input, *place.node.output) if view.element_type(name) in NO_TYPE]
        else:
            names = [*place.node.input, *place.node.output]
        arithmetic = place.node.op_type not in ("Cast", "CastLike", "Identity", *QUANTISING)
        for name in names:
            kind = view.element_type(name) if name else None
            known = name in view.initializers or _feeds_quantiser(subject, name)
            inside = kind == "uint8" and (arithmetic or name not in ends) and not known
            if kind in NO_TYPE or inside:
                yield Hit(place.where, _details(subject, place) | {"kind": kind})
                break


def _feeds_quantiser(subject: GraphSubject, name: str) -> bool:
    """Whether a tensor is the quantised side of something, which another rule looks at."""
    producer = subject.view.producers.get(name)
    users = subject.view.consumers.get(name, [])
    return any(it.node.op_type in QUANTISING for it in (*users, *([producer] if producer else [])))


def _double(subject: GraphSubject) -> Iterator[Hit]:
    if "narrowed-double" not in subject.target.lacks:
        return
    for place in subject.view.top:
        if any(subject.view.element_type(name) == "double" for name in place.node.output if name):
            yield Hit(place.where, _details(subject, place))


RULES = (
    Rule(
        id="asymmetric-quantisation",
        looks_at="graph",
        severity="cannot-run",
        find=_shifted,
        reason="the zero point of {op} is not 0, and {target} takes symmetric quantisation only",
        remedy="quantise symmetrically: `lineside export --precision int8-trt`; in onnxruntime's tools ActivationSymmetric and "
        "WeightSymmetric",
    ),
    Rule(
        id="unsigned-quantisation",
        looks_at="graph",
        severity="cannot-run",
        find=_unsigned,
        reason="{op} quantises to unsigned bytes, and {target} takes them for signed ones: what is above 127 steps is cut off "
        "without a word",
        remedy="quantise to int8: `lineside export --precision int8-trt`; unsigned bytes are the form for processors",
    ),
    Rule(
        id="quantised-bias",
        looks_at="graph",
        severity="cannot-run",
        find=_bias,
        reason="an int32 tensor, as a rule the bias of a convolution, goes through {op}, and {target} takes int8 there alone",
        remedy="leave biases in float: `lineside export --precision int8-trt`; in onnxruntime's tools QuantizeBias=False",
    ),
    Rule(
        id="mixed-types",
        looks_at="graph",
        severity="cannot-run",
        find=_mixed,
        reason="{op} has inputs of {kinds}, and {target} takes one type for all of them",
        remedy="put a Cast before one of them; `lineside export --precision fp16` writes graphs of mixed precision with every Cast",
    ),
    Rule(
        id="element-type",
        looks_at="graph",
        severity="cannot-run",
        find=_typeless,
        reason="{op} works on {kind}, and {target} has no such tensors, or unsigned bytes as inputs and outputs alone",
        remedy="compute in float32, float16, int32 or int64 there",
    ),
    Rule(
        id="narrowed-double",
        looks_at="graph",
        severity="note",
        find=_double,
        reason="{op} computes in float64, and {target} computes it in float32",
        remedy="nothing needs to be done where float32 is enough; running sums of large numbers are the exception",
    ),
)
"""Rules about quantised tensors and element types."""
