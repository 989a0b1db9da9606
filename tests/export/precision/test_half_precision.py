from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from helpers.small_graphs import run_graph, small_graph, smooth_input
from lineside.export.ops.op import DOMAIN
from lineside.export.precision.emulate import rounding_like_half
from lineside.export.precision.graph import element_types
from lineside.export.precision.half import to_fp16
from lineside.export.precision.keep import half_inputs, kept_full
from lineside.export.precision.strict import mixed_types

MODELS = (
    "yolo11n-seg",
    "yolo11n-seg-dcn",
    "yolo11n-seg-msda",
    "yolo11n-seg-freq",
    "yolo11n-seg-ss2d",
    "yolo11n-seg-dyhead",
)

FULL, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def graph_of(
    nodes: list[onnx.NodeProto], shape: tuple[int, ...], result: tuple[int, ...], **weights
) -> onnx.ModelProto:  # type: ignore[no-untyped-def]
    """A model with the input x and the output y."""
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info("x", FULL, shape)],
        [helper.make_tensor_value_info("y", FULL, result)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


class TestModelsOfTheZoo:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", MODELS)
    def test_in_half_precision_they_see_the_same_and_mix_no_types(self, name: str) -> None:
        plain = small_graph(f"{name}.yaml")
        half = to_fp16(plain)
        assert mixed_types(half) == []
        types = element_types(half)
        convolutions = [types[node.output[0]] for node in half.graph.node if node.op_type == "Conv"]
        assert convolutions.count(HALF) > 0.8 * len(convolutions)
        assert {value.type.tensor_type.elem_type for value in (*half.graph.input, *half.graph.output)} == {FULL}
        want, have = (run_graph(model, smooth_input()) for model in (plain, rounding_like_half(half)))
        assert want.keys() == have.keys()
        assert min(cosine(want[key], have[key]) for key in want) > 0.9995
        for node in half.graph.node:
            if node.domain == DOMAIN:
                inputs = half_inputs(node) or frozenset()
                found = [types[tensor] for tensor in node.input]
                assert {found[at] for at in inputs} <= {HALF}
                assert HALF not in {kind for at, kind in enumerate(found) if at not in inputs}

    @pytest.mark.slow
    def test_offsets_come_from_convolutions_in_full_precision(self) -> None:
        half = to_fp16(small_graph("yolo11n-seg-dcn.yaml"))
        makers = {name: node for node in half.graph.node for name in node.output}
        types = element_types(half)
        for node in half.graph.node:
            if node.domain == DOMAIN:
                name = node.input[1]
                while makers[name].op_type not in ("Conv", "Cast"):
                    name = makers[name].input[0]
                assert makers[name].op_type == "Conv" and types[makers[name].input[0]] == FULL


KEPT = (
    "Softmax",
    "LogSoftmax",
    "Softplus",
    "LayerNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "BatchNormalization",
    "LpNormalization",
    "MeanVarianceNormalization",
    "ReduceMean",
    "ReduceSum",
    "ReduceSumSquare",
    "ReduceL2",
    "ReduceLogSumExp",
    "ReduceProd",
    "GlobalAveragePool",
    "Exp",
    "Log",
    "Pow",
    "Sqrt",
    "Reciprocal",
    "Div",
    "CumSum",
    "Sin",
    "Cos",
    "Tan",
    "Atan",
    "GridSample",
    "DeformConv",
    "RoiAlign",
    "TopK",
)
"""Sums that outgrow FP16, small terms that vanish in it, angles, and what samples at places."""


class TestWhatKeepsFullPrecision:
    @pytest.mark.parametrize("operator", KEPT)
    def test_operators(self, operator: str) -> None:
        """Between two convolutions, where everything else would be FP16."""
        nodes = [
            helper.make_node("Conv", ["x", "first"], ["made"]),
            helper.make_node("Mul", ["made", "made"], ["before"]),
            helper.make_node(operator, ["before", "place"], ["within"]),
            helper.make_node("Mul", ["within", "made"], ["behind"]),
            helper.make_node("Conv", ["behind", "second"], ["wide"]),
            helper.make_node("Conv", ["wide", "last"], ["y"]),
        ]
        graph = graph_of(nodes, (1, 4, 8, 8), (1, 4, 8, 8)).graph
        assert kept_full(graph) == {2, 5}  # the last is what makes the output
        assert kept_full(graph, outputs=False) == {2}

    def test_a_decoder_behind_the_last_convolution(self) -> None:
        nodes = [
            helper.make_node("Conv", ["x", "first"], ["bins"]),
            helper.make_node("Conv", ["bins", "second"], ["sides"]),
            helper.make_node("Sub", ["anchors", "sides"], ["corner"]),
            helper.make_node("Mul", ["corner", "strides"], ["y"]),
        ]
        graph = graph_of(nodes, (1, 4, 8, 8), (1, 4, 8, 8)).graph
        assert kept_full(graph, outputs=False) == {2, 3}  # boxes are pixels of the input
        assert kept_full(graph) == {1, 2, 3}

    def test_places_in_a_large_map(self) -> None:
        """In FP16 a place at column 1000 of 1024 is known to half a pixel, and a ramp of columns shows it."""
        ramp = np.broadcast_to(np.arange(1024, dtype=np.float32), (1, 1, 8, 1024)) / 1024
        nodes = [
            helper.make_node("Mul", ["x", "two"], ["doubled"]),
            helper.make_node("Sub", ["doubled", "one"], ["grid"]),
            helper.make_node("GridSample", ["ramp", "grid"], ["y"], align_corners=0, mode="bilinear"),
        ]
        model = graph_of(
            nodes,
            (1, 1, 64, 2),
            (1, 1, 1, 64),
            two=np.float32([2]),
            one=np.float32([1]),
            ramp=np.ascontiguousarray(ramp),
        )
        places = np.random.default_rng(0).uniform(0.8, 0.99, (1, 1, 64, 2)).astype(np.float32)
        want, have = (run_graph(it, places)["y"] for it in (model, rounding_like_half(to_fp16(model))))
        assert np.abs(want - have).max() * 1024 < 0.01

    @given(scale=st.floats(1, 2000), seed=st.integers(0, 99))
    @settings(max_examples=20, deadline=None)
    def test_norms_written_out(self, scale: float, seed: int) -> None:
        """Squares outgrow FP16 from 256 on, and the small term under the root vanishes in it."""
        nodes = [
            helper.make_node("ReduceMean", ["x", "axis"], ["mean"]),
            helper.make_node("Sub", ["x", "mean"], ["centred"]),
            helper.make_node("Mul", ["centred", "centred"], ["squares"]),
            helper.make_node("ReduceMean", ["squares", "axis"], ["variance"]),
            helper.make_node("Add", ["variance", "eps"], ["safe"]),
            helper.make_node("Sqrt", ["safe"], ["root"]),
            helper.make_node("Div", ["centred", "root"], ["normal"]),
            helper.make_node("Conv", ["normal", "weight"], ["y"]),
        ]
        rng = np.random.default_rng(seed)
        weight = rng.normal(size=(4, 4, 1, 1)).astype(np.float32)
        model = graph_of(nodes, (1, 4, 8, 8), (1, 4, 8, 8), axis=np.int64([1]), eps=np.float32([1e-7]), weight=weight)
        x = (rng.normal(size=(1, 4, 8, 8)) * scale).astype(np.float32)
        want, have = (run_graph(it, x)["y"] for it in (model, rounding_like_half(to_fp16(model, outputs=False))))
        assert np.abs(want - have).max() < 0.02 * np.abs(want).max()

    def test_weights_and_values_that_do_not_fit(self) -> None:
        nodes = [
            helper.make_node("Mul", ["x", "large"], ["big"]),
            helper.make_node("Conv", ["big", "weight"], ["y"]),
        ]
        weight = np.float32([[[[1e-3]]]])
        model = graph_of(nodes, (1, 1, 4, 4), (1, 1, 4, 4), large=np.float32([90.0]), weight=weight)
        x = np.full((1, 1, 4, 4), 1000.0, np.float32)
        assert np.isfinite(
            run_graph(rounding_like_half(to_fp16(model, {"big": (0, 90_000.0)}, outputs=False)), x)["y"]
        ).all()
        assert np.isinf(run_graph(rounding_like_half(to_fp16(model, outputs=False)), x)["y"]).all()
        nodes[0].input[1] = "larger"
        model = graph_of(nodes, (1, 1, 4, 4), (1, 1, 4, 4), larger=np.float32([70_000.0]), weight=weight)
        assert np.isfinite(run_graph(rounding_like_half(to_fp16(model, outputs=False)), x / 100_000)["y"]).all()


class TestTypes:
    def test_a_mixed_convolution_is_found(self) -> None:
        model = graph_of([helper.make_node("Add", ["x", "w"], ["y"])], (2,), (2,), w=np.float32([1, 2]))
        assert mixed_types(model) == []
        half = to_fp16(graph_of([helper.make_node("Relu", ["x"], ["z"]), helper.make_node("Conv", ["z", "w"], ["y"])],
                                (1, 1, 2, 2), (1, 1, 2, 2), w=np.float32([[[[2]]]])), outputs=False)  # fmt: skip
        assert mixed_types(half) == []
        bare = [node for node in half.graph.node if node.op_type != "Cast"]
        assert len(bare) == 2

    def test_one_weight_in_both_precisions(self) -> None:
        nodes = [
            helper.make_node("Softmax", ["x"], ["soft"]),
            helper.make_node("Mul", ["x", "w"], ["mine"]),
            helper.make_node("Pow", ["w", "two"], ["squared"]),
            helper.make_node("Mul", ["soft", "squared"], ["theirs"]),
            helper.make_node("Add", ["mine", "theirs"], ["both"]),
            helper.make_node("MatMul", ["both", "eye"], ["y"]),
        ]
        model = graph_of(nodes, (1, 4), (1, 4), w=np.float32([1, 2, 3, 4]), two=np.float32(2), eye=np.eye(4, dtype="f"))
        half = to_fp16(model, outputs=False)
        assert mixed_types(half) == []
        x = np.float32([[0.1, -0.4, 0.9, 0.3]])
        np.testing.assert_allclose(
            run_graph(rounding_like_half(half), x)["y"], run_graph(model, x)["y"], rtol=5e-3, atol=5e-3
        )
