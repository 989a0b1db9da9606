"""The prototype branch computed before its doubling: the same function, and other graphs left alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from lineside.export.graph.passes import run_passes
from lineside.export.graph.subpixel import FOLD_DOUBLING


def branch(
    channels: int = 8,
    prototypes: int = 4,
    size: tuple[int, int] = (5, 7),
    *,
    seed: int = 0,
    doubling: dict[str, Any] | None = None,
    blend_pads: int = 1,
    point_side: int = 1,
    gate: str = "Sigmoid",
    show_doubled: bool = False,
    batch: int = 1,
) -> onnx.ModelProto:
    """A convolution, its activation, the doubling, and what follows; with large biases, so that borders tell."""
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}

    def convolution(kind: str, source: str, name: str, shape: tuple[int, ...], **more: Any) -> onnx.NodeProto:
        made = shape[1] if kind == "ConvTranspose" else shape[0]
        weights[f"{name}_w"] = (rng.normal(size=shape) / np.sqrt(shape[1] * shape[2] ** 2)).astype(np.float32)
        weights[f"{name}_b"] = rng.normal(0, 2, made).astype(np.float32)
        inputs = [source, f"{name}_w", f"{name}_b"]
        return helper.make_node(kind, inputs, [name], name=name, kernel_shape=shape[2:], **more)

    def activation(source: str, kind: str = "Sigmoid") -> list[onnx.NodeProto]:
        gated = f"{source}_gate"
        return [helper.make_node(kind, [source], [gated]), helper.make_node("Mul", [source, gated], [f"{source}_act"])]

    side = blend_pads
    nodes = [
        convolution("Conv", "images", "front", (channels, 3, 3, 3), pads=[1] * 4),
        *activation("front", gate),
        convolution(
            "ConvTranspose", "front_act", "double", (channels, channels, 2, 2), **(doubling or {"strides": [2, 2]})
        ),
        convolution("Conv", "double", "blend", (channels, channels, 3, 3), pads=[side] * 4),
        *activation("blend"),
        convolution("Conv", "blend_act", "point", (prototypes, channels, point_side, point_side)),
        *activation("point"),
    ]
    outputs = ["point_act", *(["double"] if show_doubled else [])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs]
    graph = helper.make_graph(
        nodes,
        "branch",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (batch, 3, *size))],
        values,
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def answer(model: onnx.ModelProto, seed: int = 1) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(seed).normal(size=session.get_inputs()[0].shape).astype(np.float32)
    return np.asarray(session.run(["point_act"], {"images": picture})[0])


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 40),
    prototypes=st.integers(1, 9),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    batch=st.integers(1, 2),
    seed=st.integers(0, 2**20),
)
def test_it_is_the_same_function(channels: int, prototypes: int, size: tuple[int, int], batch: int, seed: int) -> None:
    model = branch(channels, prototypes, size, seed=seed, batch=batch)
    before = answer(model)
    folded, _ = run_passes(model, [FOLD_DOUBLING])
    onnx.checker.check_model(folded, full_check=True)
    assert kinds(folded)["ConvTranspose"] == 0
    assert kinds(folded)["DepthToSpace"] == 1
    # Sums of a few hundred float32 products in another order; values reach about 10.
    np.testing.assert_allclose(answer(folded), before, rtol=0, atol=5e-5)


def test_the_border_counts_the_bias_of_the_doubling_only_inside() -> None:
    model = branch(seed=3)
    before = answer(model)
    folded, _ = run_passes(model, [FOLD_DOUBLING])
    ring = np.ones(before.shape, bool)
    ring[:, :, 1:-1, 1:-1] = False
    np.testing.assert_allclose(answer(folded)[ring], before[ring], rtol=0, atol=5e-5)


def test_weights_that_other_nodes_share_are_left_to_them() -> None:
    model = branch(channels=8, seed=5)
    twin = helper.make_node("Conv", ["images", "front_w", "front_b"], ["twin"], kernel_shape=[3, 3], pads=[1] * 4)
    model.graph.node.append(twin)
    model.graph.output.append(helper.make_tensor_value_info("twin", TensorProto.FLOAT, [None] * 4))
    before = answer(model)
    folded, _ = run_passes(model, [FOLD_DOUBLING])
    np.testing.assert_allclose(answer(folded), before, rtol=0, atol=5e-5)
    session = ort.InferenceSession(folded.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(["twin"], {"images": np.zeros((1, 3, 5, 7), np.float32)})[0].shape == (1, 8, 5, 7)


@pytest.mark.parametrize(
    "other",
    [
        {"doubling": {"strides": [2, 2], "pads": [1, 1, 1, 1]}},
        {"doubling": {"strides": [3, 3]}},
        {"doubling": {"strides": [2, 2], "output_padding": [1, 1]}},
        {"blend_pads": 0},
        {"point_side": 3},
        {"gate": "Tanh"},
        {"show_doubled": True},
    ],
)
def test_a_branch_that_is_built_otherwise_stays_as_it_is(other: dict[str, Any]) -> None:
    model = branch(**other)
    before = model.SerializeToString()
    folded, records = run_passes(model, [FOLD_DOUBLING])
    assert folded.SerializeToString() == before
    assert records[0].nodes_before == records[0].nodes_after
