from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from lineside.export.graph.finish import finish
from lineside.export.graph.half_weights import STORE_HALF
from lineside.export.graph.index import replace_nodes
from lineside.export.graph.inside import reads
from lineside.export.graph.passes import GraphPass, run_passes
from lineside.export.graph.simplify import SIMPLIFY
from lineside.runtime.errors import ExportError

SHAPE = (1, 3, 8, 8)


def graph(weight: np.ndarray, extra: tuple[onnx.NodeProto, ...] = (), opset: int = 18) -> onnx.ModelProto:
    """A convolution and whatever comes before it."""
    bias = np.linspace(-1, 1, len(weight)).astype(np.float32) / 3
    inside = extra[-1].output[0] if extra else "images"
    nodes = [*extra, helper.make_node("Conv", [inside, "w", "b"], ["out"], name="conv")]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, SHAPE)],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, (1, len(weight), 6, 6))],
            [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )


def answer(model: onnx.ModelProto) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(3).random(SHAPE, np.float32)
    return np.asarray(session.run(None, {"images": x})[0])


def weights(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(64, 3, 3, 3)).astype(np.float32)


def test_a_branch_keeps_the_weights_that_it_takes_from_around_it() -> None:
    """Of what a change of the graph leaves unused, only that goes which no graph inside of a node reads either."""
    kinds = [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)]
    branch = helper.make_graph([helper.make_node("Relu", ["kept"], ["inner"])], "branch", [], kinds)
    nodes = [
        helper.make_node("Relu", ["gone"], ["old"]),
        helper.make_node("If", ["asked"], ["out"], then_branch=branch, else_branch=branch),
    ]
    names = ("gone", "kept", "asked", "shown")
    tensors = [numpy_helper.from_array(np.array(name == "asked"), name) for name in names]
    shown = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("out", "shown")]
    outer = helper.make_graph(nodes, "g", [], shown, tensors)
    replace_nodes(outer, nodes[:1], [])
    assert [tensor.name for tensor in outer.initializer] == ["kept", "asked", "shown"]
    assert reads(outer.node[0]) == ["asked", "kept"]


class TestStoreHalf:
    def test_exact_weights_lose_nothing_and_take_half(self) -> None:
        model = graph(weights().astype(np.float16).astype(np.float32))
        before, size = answer(model), model.ByteSize()
        changed, records = run_passes(model, [STORE_HALF])
        assert np.array_equal(answer(changed), before)
        assert changed.ByteSize() < 0.7 * size
        assert {t.name: t.data_type for t in changed.graph.initializer} == {"w_fp16": 10, "b": 1}
        assert records[0].nodes_after == records[0].nodes_before + 1

    def test_inexact_weights_are_not_touched_and_the_pass_says_so(self) -> None:
        with pytest.raises(ExportError, match="store FP16.*exact in FP16"):
            run_passes(graph(weights()), [STORE_HALF])

    def test_weights_beyond_the_range_keep_float32(self) -> None:
        exact = weights().astype(np.float16).astype(np.float32)
        exact[0, 0, 0, 0] = 70000
        model = STORE_HALF.apply(graph(exact))
        assert [t.data_type for t in model.graph.initializer] == [1, 1]


class TestSimplify:
    def test_constants_are_folded_and_the_answer_stays(self) -> None:
        extra = (
            helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.float32(2))),
            helper.make_node("Constant", [], ["three"], value=numpy_helper.from_array(np.float32(3))),
            helper.make_node("Mul", ["two", "three"], ["six"], name="fold"),
            helper.make_node("Mul", ["images", "six"], ["scaled"], name="keep"),
            helper.make_node("Identity", ["scaled"], ["same"], name="drop"),
        )
        model = graph(weights(), extra)
        before = answer(model)
        changed, _ = run_passes(model, [SIMPLIFY])
        assert sorted(node.op_type for node in changed.graph.node) == ["Conv", "Mul"]
        np.testing.assert_allclose(answer(changed), before, rtol=1e-5, atol=1e-5)

    def test_it_promises_that_no_shape_is_left(self) -> None:
        model = graph(weights(), (helper.make_node("Identity", ["images"], ["same"]),))
        assert SIMPLIFY.ensures(model) == "nodes of type Identity are left"


class TestFinish:
    outputs = {"out": (1, 64, 6, 6)}

    def test_versions_and_metadata(self) -> None:
        changed, _ = run_passes(graph(weights()), [finish(SHAPE, self.outputs, {"head": "levels"})])
        assert changed.producer_name == "lineside" and changed.ir_version == 8
        assert {p.key: p.value for p in changed.metadata_props} == {"head": "levels"}

    def test_another_shape_is_refused(self) -> None:
        with pytest.raises(ExportError, match=r"outputs are \{'out': \(1, 64, 6, 6\)\}, expected"):
            run_passes(graph(weights()), [finish(SHAPE, {"out": (1, 64, 3, 3)}, {})])
        with pytest.raises(ExportError, match="inputs are"):
            run_passes(graph(weights()), [finish((2, *SHAPE[1:]), self.outputs, {})])

    def test_a_dynamic_side_is_refused(self) -> None:
        model = graph(weights())
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
        with pytest.raises(ExportError, match="'batch'"):
            run_passes(model, [finish(SHAPE, self.outputs, {})])

    def test_a_new_opset_is_refused(self) -> None:
        with pytest.raises(ExportError, match="opset 21 is newer than 20"):
            run_passes(graph(weights(), opset=21), [finish(SHAPE, self.outputs, {})])


class TestRunPasses:
    def test_conditions_are_held(self) -> None:
        model = graph(weights())
        no = GraphPass("test", lambda m: m, requires=lambda m: "it is Monday")
        with pytest.raises(ExportError, match="not fit for the pass 'test': it is Monday"):
            run_passes(model, [no])
        broken = GraphPass("test", lambda m: m, ensures=lambda m: "it rains")
        with pytest.raises(ExportError, match="'test' did not keep its promise: it rains"):
            run_passes(model, [broken])

    def test_a_crash_names_the_pass(self) -> None:
        def crash(model: onnx.ModelProto) -> onnx.ModelProto:
            raise KeyError("x")

        with pytest.raises(ExportError, match="graph pass 'test' failed"):
            run_passes(graph(weights()), [GraphPass("test", crash)])
