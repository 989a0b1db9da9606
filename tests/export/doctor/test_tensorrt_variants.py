"""What the doctor says of a model's variants: the forms for TensorRT are healthy there, the one for processors is not."""

from __future__ import annotations

import onnx
import pytest

from helpers.zoo_graphs import SIDE, zoo_graph
from lineside.export.doctor.graph_view import GraphView
from lineside.export.doctor.rule import apply
from lineside.export.doctor.rules.table import all_rules
from lineside.export.doctor.subject import GraphSubject
from lineside.export.doctor.target import find_target
from lineside.export.pictures import drawn_pictures
from lineside.export.precision.calibrate import letterboxed_inputs
from lineside.export.precision.half import to_fp16
from lineside.export.precision.quantise import to_int8

TARGETS = ("trt10.3", "trt10.16", "trt11.4")


def rules(model: onnx.ModelProto, target: str) -> set[str]:
    chosen = find_target(target)
    return {it.rule for it in apply(all_rules(), "graph", GraphSubject(GraphView(model), chosen), chosen.runtime)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolo11-seg-freq"])
def test_half_precision_is_healthy(name: str) -> None:
    half, single = to_fp16(zoo_graph(name)), zoo_graph(name)
    for target in TARGETS:
        assert rules(half, target) == rules(single, target)
    assert "half-arithmetic" in rules(half, "onnxruntime")


@pytest.mark.slow
def test_bytes_are_healthy_where_they_are_meant_for() -> None:
    graph = zoo_graph("yolo11-seg")
    pictures = letterboxed_inputs([picture.frame for picture in drawn_pictures((), [(SIDE, SIDE)])], (SIDE, SIDE))
    signed, unsigned = (to_int8(graph, kind, pictures) for kind in ("int8-trt", "int8-cpu"))
    for target in TARGETS:
        assert rules(signed, target) == set()
        assert {"unsigned-quantisation", "asymmetric-quantisation"} <= rules(unsigned, target)
    assert rules(signed, "onnxruntime") == {"signed-activations"} and rules(unsigned, "onnxruntime") == set()
