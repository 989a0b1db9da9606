"""UniRepLKNet and CGNet in YOLO11-seg: sizes, what learns, and graphs that hold the deploy form only."""

from __future__ import annotations

import copy
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from helpers.random_weights import picture, randomised
from helpers.zoo import labelled_batch, trained_a_little
from lineside.export.cut import cut_tail, fused, put_deploy_forms
from lineside.export.graph.build import build_graph
from lineside.export.heads import find_head
from lineside.export.modules.unireplknet import DilatedReparamBlock, UniRepLKNet, UniRepLKNetBlock
from lineside.export.ultra import load_model
from lineside.runtime.errors import WeightsError

SIDE = 64
OURS = ("unirep", "unireplk-a", "cg", "edge")


@cache
def built(name: str) -> Any:
    """A model with seeded weights, as it is built."""
    return load_model(f"yolo11n-seg-{name}.yaml" if name else "yolo11n-seg.yaml")


def settled(name: str) -> Any:
    """A model whose BatchNorms are not what they start as, so that folding them matters."""
    model = copy.deepcopy(built(name))
    rng = np.random.default_rng(0)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            for values, low, high in ((norm.running_mean, -0.2, 0.2), (norm.running_var, 0.7, 1.4)):
                values.copy_(torch.from_numpy(rng.uniform(low, high, values.shape)))
    return model


@cache
def graph_of(name: str) -> onnx.ModelProto:
    model = fused(built(name))
    head = find_head(model, (SIDE, SIDE)).contract
    return build_graph(model, head, 1, ["a"] * head.classes, "fp32")[0]


def millions(model: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


def deployed(model: torch.nn.Module) -> torch.nn.Module:
    """A model with the deploy forms in it, and the BatchNorms of ultralytics' own layers."""
    twin = copy.deepcopy(model)
    put_deploy_forms(twin)
    return twin


class TestSizes:
    @pytest.mark.parametrize(
        ("name", "parameters"), [("", 2.877), ("unirep", 2.754), ("unireplk-a", 6.095), ("edge", 2.779)]
    )
    def test_parameters_in_deploy_form(self, name: str, parameters: float) -> None:
        assert round(millions(deployed(built(name))), 3) == parameters

    def test_parameters_of_the_context_guided_blocks(self) -> None:
        def of(model: Any, places: tuple[int, ...]) -> float:
            return sum(millions(model.model[place]) for place in places)

        base, ours = built(""), built("cg")
        assert round(millions(base) - of(base, (4, 6, 8)) + of(ours, (4, 6, 8)), 3) == 2.658
        assert round(millions(base) - of(base, (3, 5, 7)) + of(ours, (3, 5, 7)), 3) == 3.072

    def test_variant_of_a_backbone_without_a_letter(self, tmp_path: Any) -> None:
        change = "base: yolo11-seg.yaml\nbackbone: {row: [-1, 1, UniRepLKNetBackbone, []], taps: {4: 0, 6: 1, 8: 2}}\n"
        (tmp_path / "yolo11-seg-mine.yaml").write_text(change)
        assert load_model(tmp_path / "yolo11s-seg-mine.yaml").model[0].net.dims == (48, 96, 192, 384)

    @pytest.mark.parametrize("row", ["[-1, 2, C3k2_UniRepLK, [512, 6]]", "[-1, 2, C3k2_UniRepLK, [512, 33]]"])
    def test_a_kernel_that_is_not_there(self, row: str, tmp_path: Any) -> None:
        (tmp_path / "mine.yaml").write_text(f"base: yolo11-seg.yaml\nreplace: {{6: {row}}}\n")
        with pytest.raises(WeightsError, match="kernel"):
            load_model(tmp_path / "mine.yaml")


class TestTraining:
    @pytest.mark.parametrize("name", OURS)
    def test_every_parameter_of_our_blocks_learns(self, name: str) -> None:
        model = copy.deepcopy(built(name))
        ours = {
            id(value): f"{place}.{part}"
            for place, layer in enumerate(model.model)
            if type(layer).__module__.endswith(("unireplk", "cg"))
            for part, value in layer.named_parameters()
            # In training the norm behind them takes away again what these add.
            if not part.endswith("act.1.beta") and not (".dwconv." in part and part.endswith("bias"))
        }
        trained_a_little(model, labelled_batch(SIDE), steps=1)
        gradients = {ours[id(value)]: value.grad for value in model.parameters() if id(value) in ours}
        assert len(gradients) == len(ours) > 0
        for part, gradient in gradients.items():
            assert gradient is not None and bool(torch.isfinite(gradient).all()), part
            assert bool((gradient != 0).any()), part

    def test_blocks_take_part_from_the_first_step(self) -> None:
        block = built("edge").model[6].m[0]
        x = torch.from_numpy(picture(1, block.channels, 10, 10))
        with torch.no_grad():
            added = copy.deepcopy(block).train()(x) - x
        assert float(added.std()) > 0.3 * float(x.std())


class TestDeployForm:
    @pytest.mark.parametrize("name", OURS)
    def test_fused_model_computes_the_same(self, name: str) -> None:
        model = settled(name).eval()
        x = torch.from_numpy(np.random.default_rng(0).random((1, 3, SIDE, SIDE), np.float32))
        with torch.no_grad():
            wanted = cut_tail(model, (SIDE, SIDE))(x)
            found = cut_tail(fused(model), (SIDE, SIDE))(x)
        for got, want in zip(found, wanted, strict=True):
            assert float((got - want).abs().max()) < 2e-5 * max(1.0, float(want.abs().max()))

    def test_it_takes_the_place_of_every_block_and_leaves_the_model_alone(self) -> None:
        model = built("unirep")
        twin = fused(model)
        for kind in (UniRepLKNetBlock, DilatedReparamBlock):
            assert [part.deploy for part in model.modules() if isinstance(part, kind)] == [False] * 3
            assert [part.deploy for part in twin.modules() if isinstance(part, kind)] == [True] * 3

    def test_a_layer_of_the_model_keeps_its_marks(self) -> None:
        model = copy.deepcopy(built(""))
        layer = UniRepLKNetBlock(model.model[2].cv2.conv.out_channels, 7, layer_scale=1.0)
        randomised(layer)
        layer.i, layer.f, layer.type, layer.np = 2, -1, "block", 5
        model.model[2] = torch.nn.Sequential(model.model[2], layer)
        model.model[2].i, model.model[2].f, model.model[2].type, model.model[2].np = 2, -1, "pair", 9
        form = fused(model).model[2][1]
        assert (form.deploy, form.training) == (True, False)
        assert (form.i, form.f, form.type, form.np) == (2, -1, "block", 5)

    @pytest.mark.parametrize(
        ("name", "kernels"),
        [
            ("unirep", {7: 2, 9: 1}),
            ("edge", {7: 1, 9: 1}),
            ("unireplk-a", {3: 2, 13: 10}),
        ],
    )
    def test_graph_holds_one_convolution_per_large_kernel(self, name: str, kernels: dict[int, int]) -> None:
        graph = graph_of(name).graph
        shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        layers = range(1) if name == "unireplk-a" else (4, 6, 8)
        inside = [node for node in graph.node if any(f"/model.{layer}/" in node.name for layer in layers)]
        depthwise = [
            shapes[node.input[1]] for node in inside if node.op_type == "Conv" and shapes[node.input[1]][1] == 1
        ]
        assert Counter(shape[-1] for shape in depthwise) == kernels
        assert not [node for node in graph.node if node.op_type == "BatchNormalization"]

    def test_graph_works_with_channels_in_front_throughout(self) -> None:
        inside = [node for node in graph_of("unirep").graph.node if any(f"/model.{i}/" in node.name for i in (4, 6, 8))]
        assert not {"Transpose", "MatMul", "Gemm"} & {node.op_type for node in inside}

    @pytest.mark.parametrize("name", OURS)
    def test_graph_computes_the_same(self, name: str) -> None:
        session = ort.InferenceSession(graph_of(name).SerializeToString())
        x = np.random.default_rng(0).random((1, 3, SIDE, SIDE), np.float32)
        found = session.run(None, {session.get_inputs()[0].name: x})
        with torch.no_grad():
            wanted = cut_tail(built(name).eval(), (SIDE, SIDE))(torch.from_numpy(x))
        for got, want in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got, want.numpy(), atol=2e-5 * max(1.0, float(want.abs().max())))


def test_deploy_form_of_a_whole_network_inside_another_module() -> None:
    class Outer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Sequential(torch.nn.Sequential(UniRepLKNet([1] * 4, [8] * 4, [[7]] * 4)))

        def fuse(self, verbose: bool) -> torch.nn.Module:
            return self

    assert all(part.deploy for part in fused(Outer()).modules() if isinstance(part, DilatedReparamBlock))
