"""Operators that a target lacks, or runs slowly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import FunctionProto, ModelProto, helper, numpy_helper

from helpers.sick_models.making import F32, F64, Sick, graph, saved, traced, with_block


def no_onnx_form(folder: Path, real: Path) -> Sick:
    return with_block(folder, "return x + torch.special.bessel_j0(x)")


def unknown_operator(folder: Path, real: Path) -> Sick:
    node = helper.make_node("Foo", ["x"], ["y"], domain="acme")
    return saved(folder, graph([node], {"x": (2, 3)}, domains=["acme"], output=(2, 3)))


def function_body(folder: Path, real: Path) -> Sick:
    body = [helper.make_node("Relu", ["x"], ["y"])]
    function = helper.make_function("acme", "Foo", ["x"], ["y"], body, [helper.make_opsetid("", 18)])
    node = helper.make_node("Foo", ["x"], ["y"], domain="acme")
    return saved(folder, graph([node], {"x": (2, 3)}, functions=[function], domains=["acme"], output=(2, 3)))


def one_of_old(domain: str = "acme", kind: str = "Upsample", opset: int = 9) -> FunctionProto:
    """A function of one operator, by default one that opset 10 has done away with."""
    scales = numpy_helper.from_array(np.array([1, 2], np.float32))
    nodes = {
        "Upsample": [
            helper.make_node("Constant", [], ["s"], value=scales),
            helper.make_node("Upsample", ["x", "s"], ["y"], mode="nearest"),
        ],
        "ReduceSum": [helper.make_node("ReduceSum", ["x"], ["y"], axes=[1])],
    }.get(kind, [helper.make_node(kind, ["x"], ["y"])])
    return helper.make_function(domain, "Foo", ["x"], ["y"], nodes, [helper.make_opsetid("", opset)])


def function_opset(folder: Path, real: Path) -> Sick:
    node = helper.make_node("Foo", ["x"], ["y"], domain="acme")
    return saved(folder, graph([node], {"x": (2, 3)}, functions=[one_of_old()], domains=["acme"], output=(2, 6)))


def no_kernel(folder: Path, real: Path) -> Sick:
    weight = np.ones((2, 3, 3, 3), np.float64)
    return saved(
        folder, graph([helper.make_node("Conv", ["x", "w"], ["y"])], {"x": (1, 3, 8, 8)}, {"w": weight}, kind=F64)
    )


def deform(offset: int, opset: int = 19) -> ModelProto:
    """A deformable convolution of stride 2 with a map of offsets of some size; 4 fits."""
    node = helper.make_node(
        "DeformConv", ["x", "w", "o"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]
    )
    return graph(
        [node], {"x": (1, 2, 8, 8), "o": (1, 18, offset, offset)}, {"w": np.ones((2, 2, 3, 3), np.float32)},
        opset=opset, output=(1, 2, 4, 4),
    )  # fmt: skip


def native_deform(folder: Path, real: Path) -> Sick:
    return saved(folder, deform(4), "onnxruntime1.23")


def custom_op(folder: Path, real: Path) -> Sick:
    return Sick("yolo11n-seg-dcn.yaml", options={"imgsz": (64, 64)})


def standard_body(folder: Path, real: Path) -> Sick:
    node = helper.make_node("CastLike", ["x", "k"], ["y"])
    return saved(folder, graph([node], {"x": (2, 3)}, {"k": np.ones(1, np.float32)}))


def uncropped_offsets(folder: Path, real: Path) -> Sick:
    return saved(folder, deform(8))


def volumes() -> ModelProto:
    node = helper.make_node("GridSample", ["x", "g"], ["y"], mode="linear")
    return graph([node], {"x": (1, 2, 4, 4, 4), "g": (1, 3, 3, 3, 3)}, opset=20, ir=9)


def volume_sampling(folder: Path, real: Path) -> Sick:
    return saved(folder, volumes())


def sampling(side: int = 80, channels: int = 64) -> ModelProto:
    """A map sampled at as many places as it has pixels."""
    node = helper.make_node("GridSample", ["x", "g"], ["y"], mode="bilinear")
    return graph([node], {"x": (1, channels, side, side), "g": (1, side, side, 2)})


def slow_sampling(folder: Path, real: Path) -> Sick:
    return saved(folder, sampling(), "onnxruntime1.23")


def scanning_body() -> ModelProto:
    """A running sum by a Scan inside of a function."""
    state, row, total, out = (helper.make_tensor_value_info(name, F32, [3]) for name in "hrst")
    step = helper.make_graph(
        [helper.make_node("Add", ["h", "r"], ["s"]), helper.make_node("Identity", ["s"], ["t"])],
        "step", [state, row], [total, out],
    )  # fmt: skip
    zero = helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.zeros(3, np.float32)))
    body = [zero, helper.make_node("Scan", ["zero", "x"], ["last", "y"], body=step, num_scan_inputs=1)]
    function = helper.make_function("acme", "Sums", ["x"], ["y"], body, [helper.make_opsetid("", 18)])
    node = helper.make_node("Sums", ["x"], ["y"], domain="acme")
    return graph([node], {"x": (5, 3)}, functions=[function], domains=["acme"], output=(5, 3))


def fold_of_patches(folder: Path, real: Path) -> Sick:
    from torch import nn

    return traced(folder, nn.Sequential(nn.Unfold(3, padding=1), nn.Fold((8, 8), 3, padding=1)), (1, 2, 8, 8))


def free_outputs(folder: Path, real: Path) -> Sick:
    return saved(folder, graph([helper.make_node("Compress", ["x", "c"], ["y"], axis=0)],
                               {"x": (4, 3)}, {"c": np.array([1, 0, 1, 0], bool)}, output=("rows", 3)))  # fmt: skip


def random_numbers(folder: Path, real: Path) -> Sick:
    nodes = [helper.make_node("RandomUniformLike", ["x"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])]
    return saved(folder, graph(nodes, {"x": (2, 3)}))


def embedded_nms(folder: Path, real: Path) -> Sick:
    nodes = [
        helper.make_node("Transpose", ["x"], ["s"], perm=[0, 2, 1]),
        helper.make_node("NonMaxSuppression", ["x", "s", "k"], ["n"]),
        helper.make_node("Shape", ["n"], ["c"]),
        helper.make_node("Cast", ["c"], ["y"], to=F32),
    ]
    return saved(folder, graph(nodes, {"x": (1, 4, 4)}, {"k": np.array([2], np.int64)}, output=(2,)))
