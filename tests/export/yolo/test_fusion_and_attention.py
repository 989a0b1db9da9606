"""FreqFusion and deformable attention in YOLO11-seg: sizes, what learns, and graphs with one node per operator."""

from __future__ import annotations

import copy
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from helpers.random_weights import picture, randomised
from helpers.zoo import labelled_batch, trained_a_little
from lineside.export.cut import cut_tail, fused
from lineside.export.graph.build import build_graph
from lineside.export.heads import find_head
from lineside.export.ops.op import DOMAIN
from lineside.export.ultra import load_model
from lineside.export.yolo.freqfusion import FreqFusionCat
from lineside.export.yolo.msda import MSDeformEncoder
from lineside.runtime.errors import WeightsError

SIDES = (64, 96)
OURS = ("freq", "msda")


@cache
def built(name: str) -> Any:
    """A model with seeded weights, as it is built."""
    return load_model(f"yolo11n-seg-{name}.yaml")


@cache
def graph_of(name: str, sides: tuple[int, int] = SIDES) -> onnx.ModelProto:
    model = fused(built(name))
    head = find_head(model, sides).contract
    return build_graph(model, head, 1, ["a"] * head.classes, "fp32")[0]


@pytest.mark.parametrize(("name", "parameters"), [("n-seg-freq", 2.928), ("n-seg-msda", 2.970), ("s-seg-freq", 10.269)])
def test_parameters(name: str, parameters: float) -> None:
    model = load_model(f"yolo11{name}.yaml")
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 3) == parameters


@pytest.mark.parametrize("name", OURS)
def test_every_parameter_of_our_blocks_learns(name: str) -> None:
    model = copy.deepcopy(built(name))
    trained_a_little(model, labelled_batch(64), steps=2)  # attention looks at its queries from the second step on
    parts = [
        (f"{place}.{part}", value)
        for place, layer in enumerate(model.model)
        if type(layer).__module__.endswith((".freqfusion", ".msda"))
        for part, value in layer.named_parameters()
    ]
    assert parts
    for part, value in parts:
        assert value.grad is not None and bool(torch.isfinite(value.grad).all()), part
        assert bool((value.grad != 0).any()), part


@pytest.mark.parametrize(
    ("name", "nodes"), [("freq", {"Carafe_k3_up1": 4, "Carafe_k5_up2": 4}), ("msda", {"MSDeformAttn_l3": 1})]
)
def test_graph_holds_one_node_per_operator(name: str, nodes: dict[str, int]) -> None:
    model = graph_of(name)
    assert Counter(node.op_type for node in model.graph.node if node.domain == DOMAIN) == nodes
    assert {function.name for function in model.functions} == set(nodes)


@pytest.mark.parametrize("name", OURS)
def test_graph_computes_the_same(name: str) -> None:
    session = ort.InferenceSession(graph_of(name).SerializeToString())
    x = np.random.default_rng(0).random((1, 3, *SIDES), np.float32)
    found = session.run(None, {session.get_inputs()[0].name: x})
    with torch.no_grad():
        wanted = cut_tail(built(name).eval(), SIDES)(torch.from_numpy(x))
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want.numpy(), atol=2e-5 * max(1.0, float(want.abs().max())))


@pytest.mark.parametrize("arguments", ["{}", "{resample: true, border: reflect, compressed: 16}"])
def test_a_graph_with_free_sides_takes_other_sizes(arguments: str, tmp_path: Path) -> None:
    row = f"[[6, 10], 1, FreqFusionCat, [{arguments}]]"
    (tmp_path / "mine.yaml").write_text(f"base: yolo11-seg.yaml\nremove: [11]\nreplace: {{12: {row}}}\n")
    sides = (96, 128)
    model = fused(load_model(tmp_path / "mine.yaml"))
    head = find_head(model, sides).contract
    graph = build_graph(model, head, 1, ["a"] * head.classes, "fp32", dynamic=True)[0]
    session = ort.InferenceSession(graph.SerializeToString())
    for shape in ((1, 3, *sides), (2, 3, 160, 96)):
        x = np.random.default_rng(0).random(shape, np.float32)
        found = session.run(None, {session.get_inputs()[0].name: x})
        with torch.no_grad():
            wanted = cut_tail(model, sides)(torch.from_numpy(x))
        for got, want in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got, want.numpy(), atol=5e-5 * max(1.0, float(want.abs().max())))


def test_no_table_of_the_size_of_the_maps_is_in_the_graph() -> None:
    small, large = (len(graph_of("msda", sides).SerializeToString()) for sides in (SIDES, (256, 256)))
    pixels = 256 * 256 * (1 / 64 + 1 / 256 + 1 / 1024)
    assert large - small < 64 * pixels * 4 / 2  # positions for every pixel would be twice as much


class TestFreqFusionCat:
    def test_coarse_map_comes_first_as_in_the_plain_neck(self) -> None:
        block = FreqFusionCat([3, 4], compressed=8)
        assert block.out_channels == 7
        randomised_parameters(block)
        fine, coarse = torch.from_numpy(picture(1, 3, 8, 8)), torch.from_numpy(picture(1, 4, 4, 4))
        _, hr, lr = super(FreqFusionCat, block).forward(fine, coarse)
        found = block([fine, coarse])
        assert torch.equal(found[:, :4], lr) and torch.equal(found[:, 4:], hr)

    def test_arguments_of_the_row(self, tmp_path: Path) -> None:
        (tmp_path / "yolo11-seg-mine.yaml").write_text(
            "base: yolo11-seg.yaml\nremove: [11]\nreplace:\n"
            "  12: [[6, 10], 1, FreqFusionCat, [{lp: 3, hp: 5, resample: true, border: reflect}]]\n"
        )
        model = load_model(tmp_path / "yolo11n-seg-mine.yaml")
        block = model.model[11]
        assert (block.lowpass_kernel, block.highpass_kernel, block.border) == (3, 5, "reflect")
        assert block.dysampler is not None
        assert model.model[12].cv1.conv.in_channels == block.out_channels == 128 + 256

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ("[[6], 1, FreqFusionCat, []]", "joins two maps"),
            ("[[4, 10], 1, FreqFusionCat, []]", "half its size"),
            ("[[6, 10], 1, FreqFusionCat, [{lp: 4}]]", "odd numbers"),
        ],
    )
    def test_a_row_that_cannot_be(self, row: str, said: str, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text(f"base: yolo11-seg.yaml\nremove: [11]\nreplace: {{12: {row}}}\n")
        with pytest.raises((WeightsError, ValueError), match=said):
            load_model(tmp_path / "mine.yaml")


class TestMSDeformEncoder:
    def test_maps_pass_nearly_unchanged_at_the_start(self) -> None:
        maps = [torch.from_numpy(picture(2, c, s, s)) for c, s in ((6, 8), (10, 4))]
        found = MSDeformEncoder([6, 10], 16, 2, 2)(maps)
        for before, after in zip(maps, found, strict=True):
            assert before.shape == after.shape
            assert 0 < float((after - before).detach().std()) < 0.2

    def test_every_level_sees_every_level(self) -> None:
        encoder = MSDeformEncoder([4, 4, 4], 16, 2, 2, layers=2).eval()
        randomised(encoder)
        maps = [torch.from_numpy(picture(1, 4, s, s + 2)).requires_grad_() for s in (8, 4, 2)]
        for level in encoder(maps):
            gradients = torch.autograd.grad((level**2).sum(), maps, retain_graph=True)
            assert all(bool((gradient != 0).any()) for gradient in gradients)

    def test_it_knows_where_a_pixel_is_and_on_which_level(self) -> None:
        encoder = MSDeformEncoder([4, 4], 16, 2, 2).eval()
        randomised(encoder)
        seen: list[torch.Tensor] = []
        encoder.layers[0].attention.sampling_offsets.register_forward_pre_hook(
            lambda module, inputs: seen.append(inputs[0][0])
        )
        with torch.no_grad():
            encoder.down[1].bias.copy_(encoder.down[0].bias)  # pixels alike but for their place and level
            encoder([torch.zeros(1, 4, 4, 4)] * 2)
            encoder.level.zero_()
            encoder([torch.zeros(1, 4, 4, 4)] * 2)
        distances = torch.cdist(seen[0], seen[0]) + 9 * torch.eye(32)
        assert float(distances.min()) > 0.05
        assert torch.equal(seen[1][:16], seen[1][16:])
        assert float((torch.cdist(seen[1][:16], seen[1][:16]) + 9 * torch.eye(16)).min()) > 0.05

    def test_any_size_works_after_any_other(self) -> None:
        encoder = MSDeformEncoder([4, 4], 8, 2, 2)
        for h, w in ((8, 8), (6, 10), (2, 2)):
            found = encoder([torch.zeros(1, 4, h, w), torch.zeros(1, 4, h // 2, w // 2)])
            assert [tuple(level.shape) for level in found] == [(1, 4, h, w), (1, 4, h // 2, w // 2)]

    @pytest.mark.parametrize("arguments", ["[66, 4, 4]", "[64, 5, 4]", "[64, 4, 4, 0]"])
    def test_a_row_that_cannot_be(self, arguments: str, tmp_path: Path) -> None:
        row = f"[[16, 19, 22], 1, MSDeformEncoder, {arguments}]"
        taps = "".join(f", [{-1 - k}, 1, Tap, [{k}]]" for k in range(3))
        head = f"[{row}{taps}, [[-3, -2, -1], 1, Segment, [nc, 32, 256]]]"
        (tmp_path / "mine.yaml").write_text(f"base: yolo11-seg.yaml\nhead: {head}\n")
        with pytest.raises((WeightsError, ValueError), match="cannot be built"):
            load_model(tmp_path / "mine.yaml")


def randomised_parameters(module: torch.nn.Module) -> None:
    """Seeded numbers for the parameters alone."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
