"""The selective scan in graphs of other kinds than those of the shared tests."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from helpers.op_case import run_single
from lineside.export.bench_scan.graph import single_node
from lineside.export.bench_scan.problem import Problem, ScanShape
from lineside.export.modules.selective_scan import SS2D
from lineside.export.trace import to_onnx
from oracle.op_selective_scan import scan_op


@pytest.mark.parametrize("states", [1, 4])
def test_a_graph_in_half_precision_scans_in_single(states: int) -> None:
    problem = Problem(ScanShape(1, 8, states, 300, 2))
    shapes = {name: tuple(tensor.shape) for name, tensor in problem.inputs.items()}
    inputs = [tensor.detach().numpy().astype(np.float16) for tensor in problem.inputs.values()]
    model = single_node(problem.op, shapes)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.checker.check_model(model, full_check=True)
    found = run_single(model, inputs)[0]
    wanted = scan_op(problem.op, *(array.astype(np.float32) for array in inputs))[0]
    assert found.dtype == np.float16
    assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max()  # half of that is the rounding of the result


def test_a_larger_map_does_not_make_the_graph_longer() -> None:
    module = SS2D(8, d_state=2, layout="NCHW").eval()
    graphs = [to_onnx(module, (1, 8, *size), ["y"]) for size in ((4, 4), (20, 12))]
    first, second = ([node.op_type for node in graph.graph.node] for graph in graphs)
    assert first == second
    assert len(first) < 200 and sum(kind.startswith("SelectiveScan") for kind in first) == 1
