"""Cuts the decode tail off a flat graph, where it is proven to be one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import onnx
from onnx import TensorProto, helper

from lineside.export.graph.inside import reads
from lineside.export.tails.follow import follow
from lineside.export.tails.formula import match
from lineside.export.tails.infer import inferred
from lineside.export.tails.linear import Linear, UnknownTail
from lineside.export.tails.order import in_order
from lineside.runtime.contract import HeadContract, InputContract

__all__ = ["CutGraph", "cut_graph"]


@dataclass(frozen=True)
class CutGraph:
    """A graph without its decode tail.

    Attributes:
        model: The graph; its outputs are those of ``head``.
        head: Contract ``levels``.
        taps: Names that its outputs have in the graph it was cut from, in the order of the contract.
        removed: Nodes less than before.
        half: Head tensors are float16, and so is what the tail makes of them.
    """

    model: onnx.ModelProto
    head: HeadContract
    taps: tuple[str, ...]
    removed: int
    half: bool


def cut_graph(model: onnx.ModelProto, flat: HeadContract, contract: InputContract) -> CutGraph:
    """Cuts the decode tail off.

    Args:
        model: A graph that an engine accepted, with static shapes; left as it was.
        flat: Its head contract.
        contract: Its input contract.

    Returns:
        The graph without the tail.

    Raises:
        UnknownTail: It is not proven that the tail computes what the runtime computes from ``levels``.
    """
    model = in_order(model)
    output = model.graph.output[0].name
    elements, tensors = follow(model, output, flat.grids)
    if not isinstance(elements, Linear):
        raise UnknownTail("its output does not depend on the picture")
    reg_max, taps = match(elements, tensors, flat, contract.batch)
    if flat.coefficients:
        taps.append(model.graph.output[1].name)
    head = msgspec.structs.replace(flat, kind="levels", reg_max=reg_max)
    half = _half_tensors(model, taps)
    cut = _without_tail(model, taps, half, head, contract.batch)
    return CutGraph(cut, head, tuple(taps), len(model.graph.node) - len(cut.graph.node), bool(half))


def _without_tail(
    model: onnx.ModelProto, taps: Sequence[str], half: Sequence[str], head: HeadContract, batch: int
) -> onnx.ModelProto:
    """The graph up to the head tensors, under the names of the contract, as float32."""
    names = dict(zip(taps, head.output_names, strict=True))
    used = {name for node in model.graph.node for name in (*node.input, *node.output)} - set(taps)
    if taken := used & set(names.values()):
        raise UnknownTail(f"a tensor of the graph is called '{min(taken)}' already")
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    graph = cut.graph
    kept = _needed(model.graph, taps)
    del graph.node[:], graph.output[:], graph.value_info[:]
    for node in kept:
        copied = graph.node.add()
        copied.CopyFrom(node)
        for field in (copied.input, copied.output):
            field[:] = [names.get(name, name) if name not in half else name for name in field]
    for tap in half:
        graph.node.append(helper.make_node("Cast", [tap], [names[tap]], to=TensorProto.FLOAT))
    for name, shape in zip(head.output_names, head.output_shapes(batch), strict=True):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    weights = {name for node in graph.node for name in reads(node)}
    gone = {tensor.name for tensor in graph.initializer} - weights
    for field in (graph.initializer, graph.input):  # weights may be named among the inputs as well
        left = [value for value in field if value.name not in gone]
        del field[:]
        field.extend(left)
    return cut


def _needed(graph: onnx.GraphProto, taps: Sequence[str]) -> list[onnx.NodeProto]:
    """Nodes that the tensors depend on; they are in order."""
    needed = set(taps)
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(reads(node))
            kept.append(node)
    return kept[::-1]


def _half_tensors(model: onnx.ModelProto, taps: Sequence[str]) -> tuple[str, ...]:
    """Those of the tensors that are float16."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*inferred(model), *model.graph.output)}
    unknown = sorted(name for name in taps if kinds.get(name) not in (TensorProto.FLOAT, TensorProto.FLOAT16))
    if unknown:
        raise UnknownTail(f"the head tensor '{unknown[0]}' is neither float nor float16")
    return tuple(name for name in taps if kinds[name] == TensorProto.FLOAT16)
