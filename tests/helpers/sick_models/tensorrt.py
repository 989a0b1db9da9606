"""Graphs that TensorRT refuses or reads otherwise, each beside a healthy neighbour that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from helpers.sick_models.making import F16, F32, F64, Sick, graph, saved
from helpers.sick_models.operators import volumes

I64, U8 = TensorProto.INT64, TensorProto.UINT8

Typed = tuple[int, Sequence[int | str | None]]


def typed(
    nodes: Sequence[NodeProto],
    inputs: dict[str, Typed],
    output: Typed,
    constants: dict[str, np.ndarray] | None = None,
    opset: int = 18,
) -> ModelProto:
    """A graph whose inputs and output have element types of their own; the types between are inferred."""
    from onnx.shape_inference import infer_shapes

    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [helper.make_tensor_value_info("y", *output)],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    return infer_shapes(helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9))


def one(kind: str, inputs: Sequence[str] = ("x",), **attributes: Any) -> NodeProto:
    return helper.make_node(kind, list(inputs), ["y"], **attributes)


def quantised(zero: int, kind: type) -> ModelProto:
    """A convolution with activations quantised to that type, with that zero point."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["y"]),
    ]
    constants = {"s": np.array(0.1, np.float32), "z": np.array(zero, kind), "w": np.ones((2, 3, 3, 3), np.float32)}
    return graph(nodes, {"x": (1, 3, 8, 8)}, constants)


def asymmetric_quantisation(folder: Path, real: Path) -> Sick:
    return saved(folder, quantised(3, np.int8), "trt10.3")


def unsigned_quantisation(folder: Path, real: Path) -> Sick:
    return saved(folder, quantised(0, np.uint8), "trt10.16")


def biased(dequantised: bool) -> ModelProto:
    """A quantised convolution, its bias as int32 behind a DequantizeLinear or in float."""
    made = quantised(0, np.int8)
    made.graph.node[2].input.append("b")
    bias: np.ndarray = np.ones(2, np.float32)
    if dequantised:
        bias = np.ones(2, np.int32)
        made.graph.node.insert(2, helper.make_node("DequantizeLinear", ["c", "s"], ["b"]))
    made.graph.initializer.append(numpy_helper.from_array(bias, "c" if dequantised else "b"))
    return made


def quantised_bias(folder: Path, real: Path) -> Sick:
    return saved(folder, biased(True), "trt11.4")


def half_weights(cast: bool) -> ModelProto:
    """A convolution of a float32 picture by float16 weights, with or without a Cast."""
    nodes = [helper.make_node("Cast", ["w"], ["v"], to=F32)] if cast else []
    nodes.append(one("Conv", ["x", "v" if cast else "w"]))
    weight = np.ones((2, 3, 3, 3), np.float16)
    return graph(nodes, {"x": (1, 3, 8, 8)}, {"w": weight}, output=(1, 2, 6, 6))


def mixed_types(folder: Path, real: Path) -> Sick:
    return saved(folder, half_weights(False), "trt10.3")


def through(kind: int) -> ModelProto:
    """A tensor that becomes another element type and float32 again."""
    nodes = [helper.make_node("Cast", ["x"], ["d"], to=kind), one("Cast", ["d"], to=F32)]
    return typed(nodes, {"x": (F32, (2, 3))}, (F32, (2, 3)))


def element_type(folder: Path, real: Path) -> Sick:
    return saved(folder, through(TensorProto.INT16), "trt11.4")


def narrowed_double(folder: Path, real: Path) -> Sick:
    return saved(folder, through(F64), "trt10.3")


def resized(**attributes: Any) -> ModelProto:
    """A picture made twice as large."""
    return graph(
        [one("Resize", ["x", "", "s"], **attributes)], {"x": (1, 2, 8, 8)}, {"s": np.array([1, 1, 2, 2], np.float32)}
    )


def resize_form(folder: Path, real: Path) -> Sick:
    return saved(folder, resized(mode="linear", antialias=1), "trt10.3")


def pooled(dilation: int, kind: str = "MaxPool", opset: int = 18) -> ModelProto:
    """A pooling with dilations."""
    node = one(kind, kernel_shape=[2, 2], dilations=[dilation, dilation])
    return graph([node], {"x": (1, 2, 8, 8)}, opset=opset, ir=9)


def dilated_pooling(folder: Path, real: Path) -> Sick:
    return saved(folder, pooled(2), "trt10.16")


def scattered(reduction: str) -> ModelProto:
    """Rows put into a table."""
    node = one("ScatterND", ["x", "i", "u"], reduction=reduction)
    return graph([node], {"x": (4, 3), "u": (2, 3)}, {"i": np.array([[0], [1]])})


def scatter_reduction(folder: Path, real: Path) -> Sick:
    return saved(folder, scattered("add"), "trt10.3")


def pooled_places(places: bool) -> ModelProto:
    """A pooling that says where its values come from, or does not."""
    node = helper.make_node("MaxPool", ["x"], ["y", *(["k"] if places else [])], kernel_shape=[2, 2], strides=[2, 2])
    return graph([node], {"x": (1, 2, 8, 8)})


def more_outputs(folder: Path, real: Path) -> Sick:
    return saved(folder, pooled_places(True), "trt10.3")


def deformed(pads: Sequence[int]) -> ModelProto:
    """A deformable convolution with pads."""
    node = one("DeformConv", ["x", "w", "o"], pads=list(pads), kernel_shape=[3, 3])
    side = 6 + pads[0] + pads[2]
    return graph(
        [node], {"x": (1, 2, 8, 8), "o": (1, 18, side, side)}, {"w": np.ones((2, 2, 3, 3), np.float32)},
        opset=19, output=(1, 2, side, side),
    )  # fmt: skip


def deform_form(folder: Path, real: Path) -> Sick:
    return saved(folder, deformed([0, 0, 1, 1]), "trt10.3")


def along(kind: str, free: bool) -> ModelProto:
    """An operator whose axis is an input of the graph, or a constant."""
    constants = {} if free else {"a": np.array([1])}
    inputs: dict[str, Typed] = {"x": (F32, (2, 3)), **({"a": (I64, (1,))} if free else {})}
    shape: Sequence[int | str | None] = (2, 3) if kind == "CumSum" else ("a", "b") if free else (2, 1)
    if kind == "CumSum":
        nodes = [helper.make_node("Squeeze", ["a"], ["k"]), one("CumSum", ["x", "k"])]
    else:
        nodes = [one(kind, ["x", "a"])]
    return typed(nodes, inputs, (F32, shape), constants)


def computed_axes(folder: Path, real: Path) -> Sick:
    return saved(folder, along("CumSum", True), "trt10.3")


def rows_by_content(folder: Path, real: Path) -> Sick:
    nodes = [
        helper.make_node("NonZero", ["x"], ["i"]),
        helper.make_node("Shape", ["i"], ["c"]),
        one("Cast", ["c"], to=F32),
    ]
    return saved(folder, graph(nodes, {"x": (3, 3)}, output=(2,)), "trt10.3")


def sampled(opset: int) -> ModelProto:
    """A picture sampled bilinearly, as an opset calls it."""
    node = one("GridSample", ["x", "g"], mode="linear" if opset >= 20 else "bilinear")
    return graph([node], {"x": (1, 2, 8, 8), "g": (1, 5, 5, 2)}, opset=opset, ir=9)


def sampled_by_nearest(folder: Path, real: Path) -> Sick:
    return saved(folder, sampled(20), "trt10.3")


def volume_sampling_refused(folder: Path, real: Path) -> Sick:
    return saved(folder, volumes(), "trt10.3")


def summed(equation: str) -> ModelProto:
    """A sum of products."""
    return graph(
        [one("Einsum", ["x", "w"], equation=equation)], {"x": (2, 3, 4)}, {"w": np.ones((2, 4, 5), np.float32)}
    )


def einsum_form(folder: Path, real: Path) -> Sick:
    return saved(folder, summed("...ij,...jk->...ik"), "trt10.3")


def undocumented_opset(folder: Path, real: Path) -> Sick:
    return saved(folder, graph([one("Relu")], {"x": (2, 3)}, opset=26, ir=10), "trt10.16")


def carafe(named: bool) -> ModelProto:
    """A node of ours, with or without the attributes that name its plugin."""
    from helpers.op_case import single_node
    from lineside.export.ops.carafe import Carafe

    op = Carafe(3, 2)
    shapes = ((1, 4, 5, 5), (1, 9, 10, 10))
    made = single_node(op, [np.ones(shape, np.float32) for shape in shapes])
    if not named:
        for attribute in [it for it in made.graph.node[0].attribute if it.name.startswith("plugin_")]:
            made.graph.node[0].attribute.remove(attribute)
    return made


def called(inputs: Sequence[str]) -> ModelProto:
    """A function of two inputs, the second of which nothing needs, called with some."""
    body = [helper.make_node("Relu", ["a"], ["y"])]
    function = helper.make_function("acme", "Foo", ["a", "b"], ["y"], body, [helper.make_opsetid("", 18)])
    node = helper.make_node("Foo", list(inputs), ["y"], domain="acme")
    return graph([node], {"x": (2, 3)}, functions=[function], domains=["acme"], output=(2, 3))


def function_inputs(folder: Path, real: Path) -> Sick:
    return saved(folder, called(["x"]), "trt10.3")


def function_before_plugin(folder: Path, real: Path) -> Sick:
    return saved(folder, carafe(True), "trt10.3")


def plugin_not_named(folder: Path, real: Path) -> Sick:
    return saved(folder, carafe(False), "trt11.4")


def plugin_needs_python(folder: Path, real: Path) -> Sick:
    return saved(folder, carafe(True), "trt10.3")


def whole_numbers() -> dict[str, ModelProto]:
    """Operators that TensorRT's parser does not know, one node each, in a form that onnx itself takes."""
    f, byte = (F32, (4, 4)), np.array(1, np.uint8)
    ones = {"w": np.ones((2, 3, 3, 3), np.uint8)}
    picture, bytes_in = (F32, (1, 2, 4, 4)), (U8, (1, 3, 8, 8))
    scale = np.array(1, np.float32)
    linear = {"s": scale, "z": byte}
    i32 = TensorProto.INT32
    return {
        "Col2Im": typed([one("Col2Im", ["x", "a", "b"])], {"x": (F32, (1, 4, 4))}, (F32, (1, 1, 4, 4)),
                        {"a": np.array([4, 4]), "b": np.array([2, 2])}),
        "DFT": typed([one("DFT", axis=1)], {"x": (F32, (1, 8, 1))}, (F32, (1, 8, 2))),
        "Unique": typed([one("Unique")], {"x": f}, (F32, ("n",))),
        "AffineGrid": typed([one("AffineGrid", ["x", "n"])], {"x": (F32, (1, 2, 3))}, (F32, (1, 4, 4, 2)),
                            {"n": np.array([1, 2, 4, 4])}, 20),
        "CenterCropPad": typed([one("CenterCropPad", ["x", "n"])], {"x": f}, (F32, (2, 2)), {"n": np.array([2, 2])}),
        "MaxUnpool": typed([one("MaxUnpool", ["x", "i"], kernel_shape=[2, 2], strides=[2, 2])], {"x": picture},
                           (F32, (1, 2, 8, 8)), {"i": np.arange(32).reshape(1, 2, 4, 4)}),
        "Det": typed([one("Det")], {"x": (F32, (2, 4, 4))}, (F32, (2,))),
        "Compress": typed([one("Compress", ["x", "c"], axis=0)], {"x": f}, (F32, ("n", 4)), {"c": np.ones(4, bool)}),
        "QLinearConv": typed([one("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z"])], {"x": bytes_in},
                             (U8, (1, 2, 6, 6)), {**ones, **linear}),
        "QLinearMatMul": typed([one("QLinearMatMul", ["x", "s", "z", "v", "s", "z", "s", "z"])], {"x": (U8, (2, 3))},
                               (U8, (2, 3)), {"v": np.ones((3, 3), np.uint8), **linear}),
        "ConvInteger": typed([one("ConvInteger", ["x", "w"])], {"x": bytes_in}, (i32, (1, 2, 6, 6)), ones),
        "MatMulInteger": typed([one("MatMulInteger", ["x", "v"])], {"x": (U8, (2, 3))}, (i32, (2, 3)),
                               {"v": np.ones((3, 3), np.uint8)}),
        "DynamicQuantizeLinear": typed([helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])], {"x": f},
                                       (U8, (4, 4))),
        "Bernoulli": typed([one("Bernoulli")], {"x": f}, f),
    }  # fmt: skip


def healthy() -> dict[str, ModelProto]:
    """What stands next to each fault and is none."""
    return {
        "symmetric": quantised(0, np.int8),
        "bias in float": biased(False),
        "cast weights": half_weights(True),
        "half": graph(
            [one("Conv", ["x", "w"])], {"x": (1, 3, 8, 8)}, {"w": np.ones((2, 3, 3, 3), np.float16)}, kind=F16
        ),
        "integers": through(TensorProto.INT64),
        "bytes in": typed([one("Cast", to=F32)], {"x": (U8, (2, 3))}, (F32, (2, 3))),
        "linear": resized(mode="linear", coordinate_transformation_mode="align_corners"),
        "nearest": resized(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        "pooled": pooled(1),
        "scattered": scattered("none"),
        "one output": pooled_places(False),
        "sum along": along("CumSum", False),
        "mean along": along("ReduceMean", False),
        "sampled": sampled(18),
        "summed": summed("bij,bjk->bik"),
    }
