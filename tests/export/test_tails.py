"""Cutting the decode tail off a foreign graph: only where it is proven to compute what the runtime computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from helpers.tails import CHANGES, STYLES, Tail
from lineside.export.foreign import Foreign, recognise
from lineside.export.importing import import_onnx
from lineside.export.parity.letterbox import letterboxed, place
from lineside.export.parity.plain_onnx import plain_session
from lineside.export.pictures import drawn_pictures
from lineside.export.tails import cut as cutting
from lineside.export.tails.find import Tail as Found
from lineside.export.tails.find import find_tail
from lineside.export.tails.linear import Linear, UnknownTail, atoms_of
from lineside.export.tails.operators import OPERATORS, HeadTensors
from lineside.export.tails.order import in_order
from lineside.runtime.bundle import open_bundle
from lineside.runtime.contract import HeadContract
from lineside.runtime.verify import verify_bundle

PICTURES = drawn_pictures((), [(64, 96), (96, 64)])


def levels(size: tuple[int, int] = (64, 96), classes: int = 3, coefficients: int = 4, reg_max: int = 8) -> HeadContract:
    return HeadContract(kind="levels", classes=classes, coefficients=coefficients, input_size=size, reg_max=reg_max)


def found_in(model: onnx.ModelProto, foreign: Foreign | None = None) -> Found:
    return find_tail(model.SerializeToString(), model, foreign or recognise(model), PICTURES)


class TestCut:
    @pytest.mark.parametrize("style", STYLES)
    @pytest.mark.parametrize("reg_max", [16, 1])
    def test_every_style(self, style: str, reg_max: int) -> None:
        head = levels(reg_max=reg_max)
        found = found_in(Tail(head, style=style).model())
        assert found.record.cut, found.record.reason
        assert found.graph is not None and found.graph.head == head
        assert found.record.figures is not None and found.record.figures.box_px < 1e-3
        assert found.record.figures.anchors == found.record.figures.inputs * head.anchors

    @settings(max_examples=12)
    @given(
        rows=st.integers(1, 4),
        columns=st.integers(1, 4),
        classes=st.integers(1, 5),
        coefficients=st.integers(0, 5),
        reg_max=st.integers(1, 17),
        batch=st.integers(1, 3),
        style=st.sampled_from(STYLES),
        seed=st.integers(0, 99),
    )
    def test_every_shape(
        self, rows: int, columns: int, classes: int, coefficients: int, reg_max: int, batch: int, style: str, seed: int
    ) -> None:
        head = levels((32 * rows, 32 * columns), classes, coefficients, reg_max)
        found = found_in(Tail(head, batch, style, seed=seed).model())
        assert found.record.cut, found.record.reason
        assert found.graph is not None and found.graph.head == head

    def test_the_cut_graph_puts_out_the_head_tensors_and_nothing_is_left_of_the_tail(self) -> None:
        model = Tail(levels()).model()
        found = found_in(model)
        assert found.graph is not None
        cut = found.graph.model
        assert [value.name for value in cut.graph.output] == list(levels().output_names)
        assert {node.op_type for node in cut.graph.node} == {"AveragePool", "Conv"}
        used = {name for node in cut.graph.node for name in node.input}
        assert {tensor.name for tensor in cut.graph.initializer} <= used
        onnx.checker.check_model(cut, full_check=True)

    def test_nodes_in_any_order(self) -> None:
        """Engines sort for themselves, and some exporters leave a Cast of the input at the end of the list."""
        model = Tail(levels()).model()
        nodes = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend(nodes[::-1])
        found = found_in(model)
        assert found.record.cut and found.graph is not None
        onnx.checker.check_model(found.graph.model, full_check=True)

    @pytest.mark.parametrize("ir_version", [3, 8])
    @pytest.mark.parametrize("listed", [True, False])
    def test_weights_among_the_inputs(self, ir_version: int, listed: bool) -> None:
        """Before IR version 4 they had to be; those of the tail must not stay behind as inputs that nobody feeds."""
        model = Tail(levels()).model()
        model.ir_version = ir_version
        for tensor in model.graph.initializer if listed else ():
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        found = found_in(model)
        assert found.record.cut, found.record.reason
        assert found.graph is not None
        left = {tensor.name for tensor in found.graph.model.graph.initializer}
        assert {value.name for value in found.graph.model.graph.input} == ({"images"} | left if listed else {"images"})

    def test_constants_that_the_graph_computes(self) -> None:
        """Unsimplified and dynamic exports compute sizes and anchors with operators."""
        model = Tail(levels()).model()
        add = next(node for node in model.graph.node if node.op_type == "Add")
        points = next(name for name in add.input if name.startswith("w"))
        for tensor in model.graph.initializer:
            if tensor.name == points:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) - np.float32(0.5), points))
        half = helper.make_node(
            "Constant", [], ["half"], value=numpy_helper.from_array(np.array(0.5, np.float32), "half")
        )
        sums = helper.make_node("Add", [points, "half"], ["points"])
        for node in model.graph.node:
            node.input[:] = ["points" if name == points else name for name in node.input]
        model.graph.node.extend([half, sums])
        found = found_in(in_order(model))
        assert found.record.cut, found.record.reason


class TestOperators:
    """Where ONNX and numpy read the same words differently."""

    @pytest.mark.parametrize(
        ("node", "opset"),
        [
            (helper.make_node("Split", ["x"], ["y", "y1", "y2"], axis=1, num_outputs=3), 18),
            (helper.make_node("Flatten", ["x"], ["y"], axis=4), 13),
            (helper.make_node("Flatten", ["x"], ["y"], axis=-1), 13),
            (helper.make_node("Transpose", ["x"], ["y"]), 13),
            (helper.make_node("Slice", ["x"], ["y"], starts=[-3], ends=[99], axes=[1]), 9),
            (helper.make_node("Shape", ["x"], ["y"], start=-2), 15),
        ],
        ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else str(value),
    )
    def test_elements_go_where_onnx_puts_them(self, node: onnx.NodeProto, opset: int) -> None:
        numbers = np.arange(70).reshape(1, 7, 2, 5)
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        results = OPERATORS[node.op_type](
            [atoms_of(numbers)], attributes | {"opset": opset, "outputs": len(node.output)}, HeadTensors()
        )
        graph = helper.make_graph(
            [node],
            "one",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, numbers.shape)],
            [helper.make_empty_tensor_value_info(name) for name in node.output],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        session = plain_session(model.SerializeToString(), optimise=False)
        for mine, theirs in zip(results, session.run(None, {"x": numbers.astype(np.float32)}), strict=True):
            np.testing.assert_array_equal(mine.atoms[0] if isinstance(mine, Linear) else mine, theirs)

    def test_a_softmax_over_several_axes_is_not_followed(self) -> None:
        """Before opset 13 that was what a softmax without an axis meant."""
        with pytest.raises(UnknownTail, match="several axes"):
            OPERATORS["Softmax"]([atoms_of(np.zeros((1, 4, 2, 2), np.int64))], {"opset": 12}, HeadTensors())


class TestNotCut:
    @pytest.mark.parametrize("change", CHANGES)
    def test_any_difference_is_seen_by_the_proof(self, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The proof alone must see it: nothing is run."""
        monkeypatch.setattr("lineside.export.tails.find.compare_tail", lambda *arguments: None)
        model = Tail(levels(), change=change).model()
        found = found_in(model)
        assert not found.record.cut and found.graph is None
        assert len(found.record.reason) > 20, found.record.reason

    @pytest.mark.parametrize("change", ["stride of a level", "one anchor moved", "sides exchanged", "sigmoid twice"])
    def test_a_fault_of_the_proof_is_seen_by_the_comparison(self, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Believe the structure blindly, and the figures still say no."""
        honest = Tail(levels()).model()
        graph = cutting.cut_graph(honest, recognise(honest).head, recognise(honest).input)
        names = list(graph.taps[:-1])
        monkeypatch.setattr(cutting, "follow", lambda *arguments: (graph_elements(), None))
        monkeypatch.setattr(cutting, "match", lambda *arguments: (8, list(names)))
        found = found_in(Tail(levels(), change=change).model())
        assert not found.record.cut
        assert "off (at most" in found.record.reason

    def test_a_graph_that_does_not_run_without_its_tail(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = Tail(levels()).model()
        graph = cutting.cut_graph(model, recognise(model).head, recognise(model).input)
        graph.model.graph.input.add().CopyFrom(helper.make_tensor_value_info("more", TensorProto.FLOAT, (1,)))
        monkeypatch.setattr("lineside.export.tails.find.cut_graph", lambda *arguments: graph)
        found = found_in(model)
        assert not found.record.cut and "onnxruntime cannot run" in found.record.reason

    def test_rows_that_are_detections(self) -> None:
        model = Tail(levels()).model()
        foreign = recognise(model)
        final = HeadContract(kind="end2end", classes=3, coefficients=4, input_size=(64, 96))
        found = found_in(model, Foreign(foreign.input, final, foreign.names, foreign.opset))
        assert not found.record.cut and "detections already" in found.record.reason

    def test_a_name_that_is_taken(self) -> None:
        model = Tail(levels()).model()
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = ["cls16" if name == "t0" else name for name in names]
        found = found_in(model)
        assert not found.record.cut and "'cls16'" in found.record.reason


def graph_elements() -> cutting.Linear:
    """Anything that depends on the picture."""
    return cutting.Linear((), (), np.zeros(()))


@pytest.mark.parametrize("change", ["", "sigmoid twice"])
def test_either_way_the_bundle_agrees_with_the_graph(change: str, tmp_path: Path, small_pictures: Path) -> None:
    model = Tail(levels((96, 96)), batch=2, change=change).model()
    onnx.save(model, tmp_path / "m.onnx")
    made = import_onnx(tmp_path / "m.onnx", tmp_path / "x.bundle", images=small_pictures)
    assert made.manifest.head.kind == ("flat" if change else "levels")
    assert made.parity.passed and verify_bundle(open_bundle(tmp_path / "x.bundle")).passed
    assert len(plain_session((tmp_path / "x.bundle/model.onnx").read_bytes(), True).get_outputs()) == (
        2 if change else 10
    )


def test_a_quantised_graph_runs_as_it_is(small_pictures: Path, tmp_path: Path) -> None:
    """Its tail computes in whole numbers, which is not what the runtime would compute."""
    head = levels((96, 96))
    frames = [letterboxed(picture.frame, place(picture.frame.shape[:2], (96, 96))) for picture in PICTURES]
    inputs = [frame.transpose(2, 0, 1)[None].astype(np.float32) / 255 for frame in frames]

    class Calibration(CalibrationDataReader):  # type: ignore[misc]
        rest = iter(inputs)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(({"images": each} for each in self.rest), None)

    onnx.save(Tail(head).model(), tmp_path / "float.onnx")
    quantize_static(tmp_path / "float.onnx", tmp_path / "m.onnx", Calibration(), op_types_to_quantize=["Conv"])
    made = import_onnx(tmp_path / "m.onnx", tmp_path / "x.bundle", images=small_pictures)
    assert not made.record.tail.cut and "DequantizeLinear" in made.record.tail.reason
    assert made.manifest.head.kind == "flat" and made.parity.passed and made.verified.passed
