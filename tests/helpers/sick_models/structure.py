"""Graphs that are broken, too large, or tied to one size."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto, helper

from helpers.sick_models.making import Sick, graph, saved


def broken_graph(folder: Path, real: Path) -> Sick:
    return saved(folder, broken()["circle"])


def broken() -> dict[str, ModelProto]:
    """Graphs that no engine loads, each with a fault that could hold up whoever walks through it."""
    node, size = helper.make_node, {"x": (1, 2, 8, 8)}
    call = [node("F", ["x"], ["y"], domain="acme")]
    itself = helper.make_function("acme", "F", ["x"], ["y"], call, [helper.make_opsetid("acme", 1)])
    circle = [node("Reshape", [a, "x"], [b]) for a, b in (("b", "a"), ("a", "b"))]
    circle += [node("CumSum", ["a", "x"], ["s"]), node("Mul", ["a", "x"], ["p"]), node("CumSum", ["p", "x"], ["y"])]
    shapeless = graph([node("Relu", ["x"], ["y"])], size, output=(1, 2, 8, 8))
    shapeless.graph.initializer.add(name="w").dims.extend([-1, 1 << 62])
    kinds = ("Reshape", "BatchNormalization", "Conv", "CumSum", "GridSample", "QuantizeLinear", "DeformConv", "Exp")
    return {
        "circle": graph(circle, size, output=(1,)),
        "itself": graph(call, size, functions=[itself], domains=["acme"], output=(1,)),
        "shapeless": shapeless,
        "nothing in": graph([node(kind, [], [kind]) for kind in kinds], size, output=(1,)),
        "one in": graph([node(kind, ["x"], [kind]) for kind in kinds], size, output=(1,)),
        "nothing out": graph([node("Constant", [], [], value_float=1.0)], size, output=(1,)),
        "strides": graph(
            [node("DeformConv", ["x", "x", "x"], ["y"], strides=[0, 1])], size, opset=19, output=(1, 2, 8, 8)
        ),
        "few strides": graph(
            [node("DeformConv", ["x", "x", "x"], ["y"], strides=[1])], size, opset=19, output=(1, 2, 8, 8)
        ),
    }
