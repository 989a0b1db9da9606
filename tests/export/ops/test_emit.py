"""What a traced model holds of our operators, and what happens to the shapes behind them."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from lineside.export.graph.aside import put_back, take_aside
from lineside.export.graph.finish import finish
from lineside.export.graph.half_weights import STORE_HALF
from lineside.export.graph.passes import run_passes
from lineside.export.graph.simplify import SIMPLIFY, SIMPLIFY_DYNAMIC
from lineside.export.modules.deform_conv import DCNv2
from lineside.export.ops.declare import DECLARE, used_ops
from lineside.export.ops.op import DOMAIN
from lineside.export.trace import to_onnx
from lineside.runtime.errors import ExportError


class Model(nn.Module):
    """Two deformable convolutions, and behind each an operation that asks for a shape."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = DCNv2(3, 16), DCNv2(16, 16, stride=2, deform_groups=2, bias=False)
        for block in (self.first, self.second):
            nn.init.normal_(block.conv_offset.weight, 0, 0.1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        half, other = self.first(x).relu().chunk(2, 1)
        y = self.second(torch.cat([other, half], 1))
        return (y.flatten(2).softmax(2).view(y.shape) * y,)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return Model().eval()


def answer(graph: onnx.ModelProto, x: torch.Tensor) -> torch.Tensor:
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(np.asarray(session.run(None, {"images": x.numpy()})[0]))


def test_shapes_behind_our_nodes_are_folded(model: Model) -> None:
    sides, outputs = (1, 3, 12, 16), {"y": (1, 16, 6, 8)}
    traced = to_onnx(model, sides, ["y"])
    graph, _ = run_passes(traced, [SIMPLIFY, DECLARE, finish(sides, outputs, {})])
    assert used_ops(graph) == ("ModDeformConv2d_k3_s1", "ModDeformConv2d_k3_s2_dg2")
    assert {function.name for function in graph.functions} == set(used_ops(graph))
    assert not {"Shape", "Gather", "Acosh"} & {node.op_type for node in graph.graph.node}
    ours = [node for node in graph.graph.node if node.domain == DOMAIN]
    # TensorRT expands a function only where all of its inputs are given: a bias left out is written as zeros.
    assert [len(node.input) for node in ours] == [5, 5] and all(all(node.input) for node in ours)
    x = torch.randn(sides)
    with torch.no_grad():
        torch.testing.assert_close(answer(graph, x), model(x)[0], atol=1e-5, rtol=1e-5)


def test_free_sides_stay_free(model: Model) -> None:
    sides, outputs = ("batch", 3, "height", "width"), {"y": ("batch", 16, "height/2", "width/2")}
    traced = to_onnx(model, (1, 3, 12, 16), ["y"], free={"images": sides, **outputs})
    graph = run_passes(traced, [SIMPLIFY_DYNAMIC, DECLARE, finish(sides, outputs, {})])[0]
    for shape in ((1, 3, 12, 16), (3, 3, 8, 6)):
        x = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(answer(graph, x), model(x)[0], atol=1e-5, rtol=1e-5)


def test_weights_of_our_nodes_are_stored_as_fp16(model: Model) -> None:
    half = Model().half().float().eval()
    sides, outputs = (1, 3, 12, 16), {"y": (1, 16, 6, 8)}
    traced = to_onnx(half, sides, ["y"])
    graph = run_passes(traced, [SIMPLIFY, STORE_HALF, DECLARE, finish(sides, outputs, {})])[0]
    makers = {name: node.op_type for node in graph.graph.node for name in node.output}
    ours = [node for node in graph.graph.node if node.domain == DOMAIN]
    assert [makers[node.input[3]] for node in ours] == ["Cast", "Cast"]
    x = torch.randn(sides)
    with torch.no_grad():
        torch.testing.assert_close(answer(graph, x), half(x)[0], atol=1e-5, rtol=1e-5)


def test_another_exporter_gets_standard_operators(model: Model) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, 12, 16),),
            buffer,  # type: ignore[arg-type]
            opset_version=18,
            input_names=["images"],
            dynamo=False,
        )
    graph = onnx.load_from_string(buffer.getvalue())
    assert {node.domain for node in graph.graph.node} == {""}
    x = torch.randn(1, 3, 12, 16)
    with torch.no_grad():
        torch.testing.assert_close(answer(graph, x), model(x)[0], atol=1e-5, rtol=1e-5)


def test_an_operator_that_nobody_declared_is_refused(model: Model) -> None:
    traced = to_onnx(model, (1, 3, 12, 16), ["y"])
    next(node for node in traced.graph.node if node.domain == DOMAIN).op_type = "ModDeformConv2d_k3"
    with pytest.raises(ExportError, match="ModDeformConv2d_k3"):
        run_passes(traced, [DECLARE])


def test_what_a_node_reads_must_not_get_lost(model: Model) -> None:
    traced = to_onnx(model, (1, 3, 12, 16), ["y"])
    taken = take_aside(traced, {value.name: value for value in traced.graph.value_info})
    assert taken is not None
    bare, aside = taken
    assert not any(node.domain for node in bare.graph.node)
    assert [node.op_type for node in aside.nodes] == ["ModDeformConv2d_k3_s1", "ModDeformConv2d_k3_s2_dg2"]
    whole = onnx.ModelProto()
    whole.CopyFrom(bare)
    onnx.checker.check_model(run_passes(put_back(whole, aside), [DECLARE])[0], full_check=True)
    keeper = next(node for node in bare.graph.node if node.output[0] in aside.kept)
    bare.graph.node.remove(keeper)
    with pytest.raises(ValueError, match="was lost"):
        put_back(bare, aside)
