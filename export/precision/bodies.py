"""Bodies of our operators in a half-precision graph: FP16 in and out, FP32 in between, as their kernels compute."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from lineside.export.ops.op import DOMAIN
from lineside.export.precision.graph import rename_inputs
from lineside.export.precision.keep import half_inputs, half_outputs

__all__ = ["halve_bodies"]


def halve_bodies(model: onnx.ModelProto) -> None:
    """Lets the functions of ours take FP16 and give FP16, and compute in FP32.

    Args:
        model: A half-precision model whose nodes of ours all take FP16 where they can; changed in place.
    """
    callers = {node.op_type: node for node in model.graph.node if node.domain == DOMAIN}
    for function in model.functions:
        node = callers.get(function.name)
        inputs = half_inputs(node) if node is not None and function.domain == DOMAIN else None
        if node is not None and inputs:
            _cast_around(function, inputs, half_outputs(node))


def _cast_around(function: onnx.FunctionProto, inputs: frozenset[int], outputs: frozenset[int]) -> None:
    """Puts a Cast behind each of these inputs and in front of each of these outputs."""
    given = {function.input[at]: f"{function.input[at]}/fp32" for at in sorted(inputs)}
    taken = {function.output[at]: f"{function.output[at]}/fp32" for at in sorted(outputs)}
    body = list(function.node)
    rename_inputs(body, given | taken)
    for node in body:
        for index, name in enumerate(node.output):
            node.output[index] = taken.get(name, name)
    before = [helper.make_node("Cast", [old], [new], to=TensorProto.FLOAT) for old, new in given.items()]
    after = [helper.make_node("Cast", [new], [old], to=TensorProto.FLOAT16) for old, new in taken.items()]
    del function.node[:]
    function.node.extend([*before, *body, *after])
