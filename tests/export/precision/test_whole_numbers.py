from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from helpers.small_graphs import run_graph, small_graph, smooth_input
from lineside.export.precision.asymmetric import to_asymmetric
from lineside.export.precision.audit import tensorrt_faults
from lineside.export.precision.calibrate import letterboxed_inputs, observe
from lineside.export.precision.graph import element_types
from lineside.export.precision.quantise import ranges_of, to_int8
from lineside.export.precision.ranges import METHODS, Spread, kept_range
from lineside.export.precision.scales import bytes_of_weights, signed_scale, unsigned_scale
from lineside.export.precision.strict import mixed_types
from lineside.export.synth import pictures
from lineside.runtime.errors import BadOption, ExportError

BEARING = Path(__file__).resolve().parents[3] / "demo" / "bearing.bundle" / "model.onnx"


@pytest.fixture(scope="module")
def trained() -> onnx.ModelProto:
    """A trained model: the demo's, 320 px."""
    return onnx.load(BEARING)


@pytest.fixture(scope="module")
def spreads(trained: onnx.ModelProto) -> dict[str, Spread]:
    """What its tensors hold for four drawings."""
    return observe(trained, letterboxed_inputs(pictures("bearing", 4, 320, seed=5), (320, 320)))


def compared(want: onnx.ModelProto, have: onnx.ModelProto) -> float:
    """Least cosine of an output, for a picture that no calibration saw."""
    frames = pictures("bearing", 1, 320, seed=77)
    tensor = letterboxed_inputs(frames, (320, 320))[0]
    a, b = (run_graph(model, tensor) for model in (want, have))
    pairs = [(a[name].astype(np.float64).ravel(), b[name].ravel()) for name in a]
    return min(float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)) for x, y in pairs)


class TestForTensorRT:
    def test_signed_symmetric_and_nothing_that_it_refuses(
        self, trained: onnx.ModelProto, spreads: dict[str, Spread]
    ) -> None:
        quantised = to_int8(trained, "int8-trt", ranges_of(spreads, "squares"))
        assert tensorrt_faults(quantised) == [] and mixed_types(quantised) == []
        pairs = {node.output[0]: node for node in quantised.graph.node if node.op_type == "DequantizeLinear"}
        weights = {tensor.name: tensor for tensor in quantised.graph.initializer}
        convolutions = [node for node in quantised.graph.node if node.op_type == "Conv"]
        inside = [node for node in convolutions if node.input[0] in pairs]
        assert len(inside) > 0.55 * len(convolutions)  # the first six and the head stay float
        for node in inside:
            weight = pairs[node.input[1]]
            assert weights[weight.input[0]].data_type == TensorProto.INT8
            assert list(weights[weight.input[1]].dims) == [weights[weight.input[0]].dims[0]]  # a scale per channel
            assert len(node.input) < 3 or weights[node.input[2]].data_type == TensorProto.FLOAT
        assert not any(node.input[0] in pairs for node in convolutions[:6])  # what is lost there is carried through all
        last = [node for node in convolutions if {*node.output} & {value.name for value in quantised.graph.output}]
        assert len(last) == 9 and not any(node.input[0] in pairs for node in last)
        assert compared(trained, quantised) > 0.985
        assert len(quantised.SerializeToString()) < 5_500_000  # a byte per weight of the middle, half of all

    def test_the_other_form_is_what_it_refuses(self, trained: onnx.ModelProto, spreads: dict[str, Spread]) -> None:
        faults = tensorrt_faults(to_int8(trained, "int8-cpu", ranges_of(spreads, "squares")))
        assert any("uint8" in fault for fault in faults) and any("int32" in fault for fault in faults)


class TestForProcessors:
    def test_onnxruntime_computes_it_in_bytes(
        self, trained: onnx.ModelProto, spreads: dict[str, Spread], tmp_path: Path
    ) -> None:
        import onnxruntime as ort

        quantised = to_int8(trained, "int8-cpu", ranges_of(spreads, "squares"))
        options = ort.SessionOptions()
        options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "seen.onnx"), 4
        ort.InferenceSession(quantised.SerializeToString(), options, providers=["CPUExecutionProvider"])
        kinds = Counter(node.op_type for node in onnx.load(tmp_path / "seen.onnx").graph.node)
        assert kinds["QLinearConv"] > 55
        assert kinds["QLinearSigmoid"] > 50 and kinds["QLinearMul"] > 50
        assert kinds["QLinearConcat"] > 10 and kinds["QLinearAdd"] > 10
        assert kinds["QuantizeLinear"] < 10  # bytes stay bytes from convolution to convolution
        assert compared(trained, quantised) > 0.985

    def test_what_a_gate_closes_takes_no_bytes(self) -> None:
        """``x * sigmoid(x)`` is nought within 0.015 below -6, so the bytes are for what is above."""
        names = ["x", *(f"v{at}" for at in range(6)), "made", "passed", *(f"u{at}" for at in range(4)), "y"]
        nodes = [helper.make_node("Conv", [given, "w"], [made]) for given, made in pairwise(names) if given != "made"]
        nodes[7:7] = [
            helper.make_node("Sigmoid", ["made"], ["gate"]),
            helper.make_node("Mul", ["made", "gate"], ["passed"]),
        ]
        sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4, 8, 8)) for name in "xy"]
        weight = np.random.default_rng(0).normal(size=(4, 4, 1, 1)).astype(np.float32)
        graph = helper.make_graph(nodes, "gated", sides[:1], sides[1:], [numpy_helper.from_array(weight, "w")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        quantised = to_asymmetric(model, dict.fromkeys((*names, "gate"), (-60.0, 6.0)))
        weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
        pairs = {node.input[0]: node for node in quantised.graph.node if node.op_type == "QuantizeLinear"}
        assert float(weights[pairs["made"].input[1]]) == pytest.approx(12 / 255)
        assert float(weights[pairs["v5"].input[1]]) == pytest.approx(66 / 255)

    def test_weights_leave_room_for_sums_of_16_bits(self, trained: onnx.ModelProto, spreads: dict[str, Spread]) -> None:
        quantised = to_int8(trained, "int8-cpu", ranges_of(spreads, "squares"))
        for tensor in quantised.graph.initializer:
            if tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 4:
                assert 2 * 255 * int(np.abs(numpy_helper.to_array(tensor).astype(int)).max()) <= 32767


class TestCalibration:
    def test_the_same_pictures_give_the_same_file(self, trained: onnx.ModelProto) -> None:
        inputs = letterboxed_inputs(pictures("bearing", 2, 160, seed=3), (320, 320))
        first, second = (to_int8(trained, "int8-trt", inputs).SerializeToString() for _ in range(2))
        assert first == second

    def test_nothing_to_look_at(self, trained: onnx.ModelProto) -> None:
        with pytest.raises(BadOption, match="needs pictures"):
            to_int8(trained, "int8-cpu", [])
        with pytest.raises(ExportError, match="no range for the tensor"):
            to_int8(trained, "int8-cpu", {"images": (0.0, 1.0)})

    def test_outliers(self) -> None:
        """One value in a million far outside: all of it is kept by the extremes, nearly nothing by the others."""
        rng = np.random.default_rng(0)
        values = np.append(rng.normal(size=1_000_000), [400.0])
        spread = Spread(float(values.min()), 400.0, np.histogram(values, 2048, (values.min(), 400.0))[0])
        assert kept_range(spread, "minmax")[1] == 400.0
        assert kept_range(spread, "percentile")[1] < 6
        assert all(low <= 0 < high <= 400 for low, high in (kept_range(spread, method) for method in METHODS))

    @pytest.mark.slow
    def test_a_model_with_operators_of_ours(self) -> None:
        plain = small_graph("yolo11n-seg-msda.yaml")
        spreads = observe(plain, [smooth_input(seed) for seed in range(2)])
        for kind in ("int8-trt", "int8-cpu"):
            quantised = to_int8(plain, kind, ranges_of(spreads, "minmax"))  # type: ignore[arg-type]
            types = element_types(quantised)
            makers = {name: node for node in quantised.graph.node for name in node.output}
            for node in quantised.graph.node:
                if node.domain:  # nothing around them is in bytes
                    assert all(makers[name].op_type != "DequantizeLinear" for name in node.input if name in makers)
                    assert {types[name] for name in node.output} == {TensorProto.FLOAT}
            assert all(np.isfinite(value).all() for value in run_graph(quantised, smooth_input(9)).values())


class TestScales:
    @given(low=st.floats(-1e4, 1e4), high=st.floats(-1e4, 1e4), share=st.floats(0, 1))
    @settings(max_examples=200, deadline=None)
    def test_a_value_in_range_is_met_to_half_a_step(self, low: float, high: float, share: float) -> None:
        low, high = min(low, high, 0.0), max(low, high, 0.0)
        value = low + share * (high - low)
        for scale in (signed_scale(low, high), unsigned_scale(low, high)):
            ends = (-128, 127) if scale.signed else (0, 255)
            byte = np.clip(np.rint(value / scale.scale) + scale.zero, *ends)
            assert abs((byte - scale.zero) * scale.scale - value) <= 0.51 * scale.scale + 1e-9
            assert scale.signed == (scale.zero == 0 and ends[0] < 0)
            assert (np.clip(scale.zero, *ends) - scale.zero) == 0  # zero is met exactly

    @given(seed=st.integers(0, 999), most=st.sampled_from([64, 127]))
    @settings(max_examples=40, deadline=None)
    def test_weights_channel_by_channel(self, seed: int, most: int) -> None:
        rng = np.random.default_rng(seed)
        weights = (rng.normal(size=(5, 3, 2, 2)) * 10 ** rng.uniform(-4, 2, (5, 1, 1, 1))).astype(np.float32)
        weights[2] = 0
        values, scales = bytes_of_weights(weights, most)
        assert values.dtype == np.int8 and np.abs(values.astype(int)).max() <= most
        reach = np.abs(values.astype(int)).max(axis=(1, 2, 3))
        assert all(reach[at] == most for at in (0, 1, 3, 4))  # each channel uses all of its bytes
        step = scales.reshape(-1, 1, 1, 1)
        assert (np.abs(values * step - weights) <= 0.51 * step + 1e-12).all()
