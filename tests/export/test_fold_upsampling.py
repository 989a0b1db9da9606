"""The neck convolved before its enlarging: the same function, and other graphs left alone."""

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
from lineside.export.graph.upsampled import FOLD_UPSAMPLING


def neck(
    coarse: int = 3,
    fine: int = 2,
    made: int = 4,
    size: tuple[int, int] = (3, 5),
    *,
    seed: int = 0,
    order: tuple[str, str] = ("large", "fine"),
    scale: float = 2.0,
    resize: dict[str, Any] | None = None,
    kernel: int = 1,
    shown: str = "mixed",
    batch: int = 1,
) -> onnx.ModelProto:
    """A coarse map, enlarged, joined with a fine one and mixed."""
    rng = np.random.default_rng(seed)
    weights = {
        "w": rng.normal(size=(made, coarse + fine, kernel, kernel)).astype(np.float32),
        "b": rng.normal(size=made).astype(np.float32),
        "scales": np.array([1, 1, scale, scale], np.float32),
    }
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor", **(resize or {})}
    nodes = [
        helper.make_node("Resize", ["coarse", "", "scales"], ["large"], **how),
        helper.make_node("Concat", list(order), ["joined"], axis=1),
        helper.make_node("Conv", ["joined", "w", "b"], ["mixed"], kernel_shape=[kernel, kernel]),
    ]
    full = [int(np.floor(side * scale)) for side in size]
    graph = helper.make_graph(
        nodes,
        "neck",
        [
            helper.make_tensor_value_info("coarse", TensorProto.FLOAT, (batch, coarse, *size)),
            helper.make_tensor_value_info("fine", TensorProto.FLOAT, (batch, fine, *full)),
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4)
            for name in dict.fromkeys(("mixed", shown))
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def answer(model: onnx.ModelProto) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(7)
    feeds = {value.name: rng.normal(size=value.shape).astype(np.float32) for value in session.get_inputs()}
    return np.asarray(session.run(["mixed"], feeds)[0])


@settings(max_examples=25, deadline=None)
@given(
    coarse=st.integers(1, 20),
    fine=st.integers(1, 20),
    made=st.integers(1, 9),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    order=st.sampled_from([("large", "fine"), ("fine", "large")]),
    scale=st.sampled_from([2.0, 3.0, 1.5]),
    batch=st.integers(1, 2),
    seed=st.integers(0, 2**20),
)
def test_it_is_the_same_function(coarse, fine, made, size, order, scale, batch, seed) -> None:
    model = neck(coarse, fine, made, size, order=order, scale=scale, batch=batch, seed=seed)
    before = answer(model)
    folded, _ = run_passes(model, [FOLD_UPSAMPLING])
    onnx.checker.check_model(folded, full_check=True)
    assert Counter(node.op_type for node in folded.graph.node) == {"Conv": 2, "Resize": 1, "Add": 1}
    # Sums of at most 40 float32 products in another order; values reach about 20.
    np.testing.assert_allclose(answer(folded), before, rtol=0, atol=2e-5)


def test_the_coarse_map_is_mixed_at_its_own_size() -> None:
    folded, _ = run_passes(neck(size=(3, 5)), [FOLD_UPSAMPLING])
    inferred = onnx.shape_inference.infer_shapes(folded).graph
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in inferred.value_info
    }
    small = next(node for node in folded.graph.node if node.op_type == "Conv" and node.input[0] == "coarse")
    assert shapes[small.output[0]] == [1, 4, 3, 5]
    assert len(small.input) == 2  # the bias is added once, on the other side


@pytest.mark.parametrize(
    "other",
    [
        {"resize": {"mode": "linear"}},
        {"scale": 0.5, "size": (4, 6)},
        {"kernel": 3},
        {"shown": "joined"},
        {"shown": "large"},
        {"order": ("large", "large"), "fine": 3},
    ],
    ids=str,
)
def test_a_junction_that_is_built_otherwise_stays_as_it_is(other: dict[str, Any]) -> None:
    model = neck(**other)
    before = model.SerializeToString()
    folded, records = run_passes(model, [FOLD_UPSAMPLING])
    assert folded.SerializeToString() == before
    assert records[0].nodes_before == records[0].nodes_after


def test_maps_that_are_joined_row_by_row_stay_as_they_are() -> None:
    model = neck(3, 3)
    model.graph.node[1].attribute[0].i = 2
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w"))
    before = model.SerializeToString()
    folded, _ = run_passes(model, [FOLD_UPSAMPLING])
    assert folded.SerializeToString() == before
