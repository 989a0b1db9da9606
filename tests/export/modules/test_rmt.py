"""RMT: the same as a plain double loop, at any size, in training and in a graph."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from helpers.random_weights import picture, randomised
from lineside.export.modules.check.case import Case, NoHandler
from lineside.export.modules.check.compare import relative_error
from lineside.export.modules.check.table import answer
from lineside.export.modules.rmt import (
    RMT,
    VARIANTS,
    FeedForwardNetwork,
    MaSA,
    MaSAd,
    PatchEmbed,
    PatchMerging,
    RelPos2d,
    RetBlock,
    RMTConfig,
    rmt,
)
from lineside.export.modules.rmt.attention import MASK_BYTES
from lineside.export.trace import to_onnx
from oracle import rmt as oracle

EXACT = 1e-5
KINDS = {"whole": MaSA, "chunk": MaSAd}
UPSTREAM = {"whole": "VisionRetentionAll", "chunk": "VisionRetentionChunk"}
SMALL: dict[str, Any] = {
    "embed_dims": (8, 12, 24, 16),
    "depths": (2, 1, 1, 2),
    "num_heads": (2, 3, 2, 4),
    "init_values": (2, 3, 1, 2),
    "heads_ranges": (4, 2, 6, 5),
    "mlp_ratios": (3, 2, 1.5, 2),
}


PUBLISHED = {
    "t": ((64, 128, 256, 512), (2, 2, 8, 2), (3, 3, 3, 3), (False, False, False, False)),
    "s": ((64, 128, 256, 512), (3, 4, 18, 4), (4, 4, 3, 3), (False, False, False, False)),
    "b": ((80, 160, 320, 512), (4, 8, 25, 8), (4, 4, 3, 3), (False, False, True, True)),
    "l": ((112, 224, 448, 640), (4, 8, 25, 8), (4, 4, 3, 3), (False, False, True, True)),
}
"""Channels, blocks, factors of the feed-forward networks and trained factors of the residuals, per stage."""


class Mapped(nn.Module):
    """An attention with the positions of its map, for maps (B, C, H, W), as graphs have them."""

    def __init__(self, attention: nn.Module, relpos: RelPos2d) -> None:
        super().__init__()
        self.attention, self.relpos = attention, relpos

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        relation = self.relpos(x.shape[2], x.shape[3], x)
        return (self.attention(x.permute(0, 2, 3, 1), relation).permute(0, 3, 1, 2),)


def answered(
    state: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray],
    wanted: Mapping[str, np.ndarray],
    source: str = "",
    **hyper: Any,
) -> float:
    """Largest relative error that the checker gives for a case made here."""

    def tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}

    case = Case(
        "rmt", "any", hyper, tensors(inputs), tensors(state), tensors(wanted), "", {"file": f"upstream.py:{source}"}
    )
    found = answer(case)
    return max(relative_error(found[name], case.expected[name]) for name in wanted)


class TestAnswers:
    """Cases of other sizes and hyper-parameters than the shipped ones, their outputs made in numpy."""

    @pytest.mark.parametrize(
        ("dim", "heads", "initial", "reach", "height", "width"),
        [(24, 3, 1, 6, 7, 3), (4, 2, 5, 0, 1, 9), (40, 5, 0.5, 8, 2, 2), (16, 1, 2, 4, 6, 1)],
    )
    def test_positions(self, dim: int, heads: int, initial: float, reach: float, height: int, width: int) -> None:
        wanted = oracle.positions(dim, heads, initial, reach, height, width)
        hyper = {"embed_dim": dim, "num_heads": heads, "initial_value": initial, "heads_range": reach}
        assert answered({}, {}, wanted, "RetNetRelPos2d", **hyper, H=height, W=width) < EXACT

    @pytest.mark.parametrize("dim", [2, 8, 16, 24, 32, 64])
    def test_positions_of_a_large_map_are_rounded_as_in_float32(self, dim: int) -> None:
        angle = (1.0 / 10000 ** torch.linspace(0, 1, dim // 2)).repeat_interleave(2)
        turn = torch.arange(40 * 30).view(40, 30, 1) * angle
        wanted = {"angle": angle.numpy(), "sin": turn.sin().numpy(), "cos": turn.cos().numpy()}
        assert answered({}, {}, wanted, "RetNetRelPos2d", embed_dim=dim, num_heads=1, H=40, W=30) < 1e-6

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("rotary", [True, False])
    @pytest.mark.parametrize(("dim", "heads", "height", "width"), [(12, 3, 6, 4), (10, 1, 3, 7), (8, 4, 1, 5)])
    def test_attention(self, kind: str, rotary: bool, dim: int, heads: int, height: int, width: int) -> None:
        state = randomised(KINDS[kind](dim, heads))
        x = picture(2, height, width, dim)
        y = oracle.attention(x.astype(float), state, kind, heads, 3, 5, rotary)
        hyper = {"embed_dim": dim, "num_heads": heads, "initial_value": 3, "heads_range": 5}
        assert answered(state, {"x": x}, {"y": y}, UPSTREAM[kind], **hyper, rotary=rotary) < EXACT
        if rotary:  # the originals rotate, so a case that does not say
            assert answered(state, {"x": x}, {"y": y}, UPSTREAM[kind], **hyper) < EXACT

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("layerscale", [True, False])
    def test_block(self, kind: str, layerscale: bool) -> None:
        state = randomised(RetBlock(kind, 12, 2, 20, layerscale))  # type: ignore[arg-type]
        hyper = {"retention": kind, "num_heads": 2, "initial_value": 1, "heads_range": 3, "rotary": not layerscale}
        x = picture(2, 4, 5, 12)
        y = oracle.block(x.astype(float), state, hyper)
        wanted = {"embed_dim": 12, "ffn_dim": 20, "layerscale": layerscale, **hyper}
        assert answered(state, {"x": x}, {"y": y}, "RetBlock", **wanted) < EXACT

    def test_smaller_parts(self) -> None:
        x = picture(2, 5, 6, 8)
        for module, function in (
            (PatchMerging(8, 10), oracle.merging),
            (FeedForwardNetwork(8, 12), oracle.feed_forward),
        ):
            state = randomised(module)
            assert answered(state, {"x": x}, {"y": function(x.astype(float), state)}, dim=8, out_dim=10) < EXACT
        state, image = randomised(PatchEmbed(3, 8)), picture(1, 3, 17, 22)
        assert answered(state, {"x": image}, {"y": oracle.embedding(image.astype(float), state)}) < EXACT

    @pytest.mark.parametrize("chunk", [(True, False, True, False), (False, True, False, True)])
    def test_backbone(self, chunk: tuple[bool, ...]) -> None:
        rotary = chunk[0]
        state = randomised(
            RMT(RMTConfig(**SMALL, chunk=chunk, layerscales=(False, True, False, True), extra_norms=chunk[0]))
        )
        hyper = SMALL | {"chunkwise_recurrents": chunk, "rotary": rotary}
        x = picture(1, 3, 44, 70)
        wanted = oracle.backbone(x.astype(float), state, hyper)
        assert set(wanted) == {"p2", "p3", "p4", "p5"}
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in hyper.items()}
        assert answered(state, {"x": x}, wanted, "RMT", **lists) < EXACT

    def test_angles_and_rates_of_a_checkpoint_are_checked(self) -> None:
        module = RMT(RMTConfig(**SMALL))
        state = module.state_dict()
        relpos = RelPos2d(8, 2, 2, 4)
        module.load_state_dict(state | {"layers.0.Relpos.angle": relpos.angle, "layers.0.Relpos.decay": relpos.decay})
        with pytest.raises(RuntimeError, match=r"layers.0.Relpos.decay is"):
            module.load_state_dict(state | {"layers.0.Relpos.decay": RelPos2d(8, 2, 2, 5).decay})

    def test_other_parts_have_no_answer(self) -> None:
        with pytest.raises(NoHandler, match="VisRetNet"):
            answered({"head.weight": picture(2, 2)}, {}, {"y": picture(1)}, "VisRetNet")


class TestAttention:
    @settings(deadline=None, max_examples=30)
    @given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans())
    def test_any_size_is_the_double_loop(
        self, height: int, width: int, heads: int, pairs: int, whole: bool, rotary: bool
    ) -> None:
        kind, dim = "whole" if whole else "chunk", heads * pairs * 2
        module = KINDS[kind](dim, heads)
        state, x = randomised(module), picture(1, height, width, dim)
        relation = RelPos2d(dim, heads, 2, 4, rotary)(height, width, torch.zeros(()))
        with torch.no_grad():
            y = module(torch.from_numpy(x), relation)
        wanted = oracle.attention(x.astype(float), state, kind, heads, 2, 4, rotary)
        assert relative_error(y, torch.from_numpy(wanted)) < EXACT

    def test_the_form_for_large_maps_is_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module, x = MaSA(12, 3), torch.from_numpy(picture(2, 5, 7, 12))
        randomised(module)
        relation = RelPos2d(12, 3)(5, 7, x)
        usual = module(x, relation)
        monkeypatch.setattr("lineside.export.modules.rmt.attention.MASK_BYTES", 0)
        assert relative_error(module(x, relation), usual) < 1e-6

    @pytest.mark.parametrize(
        ("kind", "side", "dim", "heads"), [("chunk", 20, 32, 2), ("whole", 20, 32, 2), ("whole", 38, 4, 2)]
    )
    def test_graph_is_the_same_and_holds_no_large_mask(self, kind: str, side: int, dim: int, heads: int) -> None:
        module = Mapped(KINDS[kind](dim, heads), RelPos2d(dim, heads)).eval()
        randomised(module)
        graph = to_onnx(module, (1, dim, side, side), ["y"])
        assert all(8 * np.prod(tensor.dims) <= MASK_BYTES for tensor in constants(graph))
        assert graph.ByteSize() < (3e6 if side < 38 else 2e5)
        x = picture(1, dim, side, side)
        y = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"images": x})[0]
        with torch.no_grad():
            assert relative_error(torch.from_numpy(y), module(torch.from_numpy(x))[0]) < EXACT

    def test_sizes_it_has_seen_leave_no_trace(self) -> None:
        """Nothing of a map goes into a state_dict, a pickle or a copy, and validation spoils no training."""
        module = Mapped(MaSAd(8, 2), RelPos2d(8, 2, 2.5, 3, rotary=True))
        names = set(module.state_dict())
        before = len(pickle.dumps(module))
        with torch.inference_mode():
            module(torch.zeros(1, 8, 33, 29))
        assert set(module.state_dict()) == names
        assert len(pickle.dumps(module)) == before
        x = torch.randn(1, 8, 33, 29)
        module(x)[0].square().mean().backward()
        twin = copy.deepcopy(module)
        torch.testing.assert_close(twin(x), module(x))

    def test_a_walk_without_numbers_leaves_no_stand_ins(self) -> None:
        module, side = Mapped(MaSAd(8, 2), RelPos2d(8, 2, 2.25, 3, rotary=True)), 31
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            assert isinstance(module(torch.zeros(1, 8, side, side))[0], FakeTensor)
        assert type(module(torch.zeros(1, 8, side, side))[0].detach()) is torch.Tensor

    def test_half_precision_of_a_checkpoint_does_not_move_the_positions(self) -> None:
        relpos = RelPos2d(16, 4, 2, 4, rotary=True)
        before = relpos(6, 6, torch.zeros(()))
        relpos.half().float()
        for old, new in zip(before, relpos(6, 6, torch.zeros(())), strict=True):
            assert torch.equal(old, new)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [((10, 3), "cannot be shared"), ((6, 2, 2, 4, True), "pairs"), ((8, 2, 0, 4), "exponents")],
    )
    def test_impossible_positions(self, arguments: tuple[Any, ...], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            RelPos2d(*arguments)


class TestTraining:
    @pytest.mark.parametrize("rotary", [True, False])
    def test_gradients_reach_every_parameter(self, rotary: bool) -> None:
        config = RMTConfig(**SMALL, chunk=(True, False, True, False), layerscales=(True,) * 4, rotary=rotary)
        model = RMT(config)
        randomised(model)
        model.double().train()
        x = torch.from_numpy(picture(2, 3, 64, 96)).double()
        loss = torch.stack([y.pow(3).mean() for y in model(x)]).sum()
        loss.backward()
        sizes = {name: float(parameter.grad.abs().max()) for name, parameter in model.named_parameters()}  # type: ignore[union-attr]
        assert all(np.isfinite(size) for size in sizes.values())
        assert {name for name, size in sizes.items() if size < 1e-13} == set(filter(lambda n: idle(n, rotary), sizes))

    def test_checkpointing_gives_the_same_gradients(self) -> None:
        usual, thrifty = (RMT(RMTConfig(**SMALL, checkpointing=on)) for on in (False, True))
        thrifty.load_state_dict(usual.state_dict())
        x = torch.randn(2, 3, 64, 64)
        for model in (usual, thrifty):
            model.train()
            sum(y.square().mean() for y in model(x)).backward()  # type: ignore[union-attr]
        for (name, one), other in zip(usual.named_parameters(), thrifty.parameters(), strict=True):
            assert one.grad is not None and other.grad is not None, name
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-5, atol=1e-7)

    def test_checkpointing_keeps_less(self) -> None:
        """Of each block only its input is kept for the backward pass."""
        kept = {}
        for on in (False, True):
            model = RMT(RMTConfig(**SMALL, checkpointing=on)).train()
            sizes: list[int] = []

            def packed(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
                sizes.append(tensor.numel())
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(packed, lambda tensor: tensor):
                model(torch.randn(1, 3, 64, 64))
            kept[on] = sum(sizes)
        assert kept[True] < 0.5 * kept[False]

    def test_left_out_residuals(self) -> None:
        block = RetBlock("chunk", 8, 2, 16, drop_path=0.5)
        randomised(block)
        relation = RelPos2d(8, 2)(4, 4, torch.zeros(()))
        x = torch.randn(1, 4, 4, 8).expand(64, 4, 4, 8)
        assert torch.equal(block(x, relation)[0], block(x, relation)[1])
        torch.manual_seed(0)
        block.train()
        pictures = {tuple(y.flatten()[:4].tolist()) for y in block(x, relation)}
        assert len(pictures) == 4  # each of two residuals is there or not

    def test_any_size_of_picture(self) -> None:
        model = RMT(RMTConfig(**SMALL, outputs=(1, 3))).eval()
        with torch.no_grad():
            for height, width in ((64, 64), (50, 70), (33, 32)):
                sides = [(-(-height // 2**k), -(-width // 2**k)) for k in (3, 5)]
                assert [tuple(y.shape[2:]) for y in model(torch.zeros(1, 3, height, width))] == sides
        assert model.channels == (12, 16)

    @pytest.mark.parametrize("outputs", [(), (3, 1), (1, 1), (2, 4)])
    def test_outputs_that_channels_would_be_wrong_for_are_refused(self, outputs: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="rising order"):
            RMTConfig(**SMALL, outputs=outputs)


class TestVariants:
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_parameters_follow_from_the_specification(self, variant: str) -> None:
        with torch.device("meta"):
            model = rmt(variant)
        dims, depths, ratios, scaled = PUBLISHED[variant]
        assert sum(parameter.numel() for parameter in model.parameters()) == counted(dims, depths, ratios, scaled)
        shapes = [tuple(y.shape) for y in model(torch.zeros(1, 3, 224, 224, device="meta"))]
        assert shapes == [(1, dim, 56 >> stage, 56 >> stage) for stage, dim in enumerate(dims)]

    @pytest.mark.parametrize(
        ("variant", "heads", "ranges", "whole"),
        [
            ("t", (4, 4, 8, 16), (4, 4, 6, 6), (2, 3)),
            ("s", (4, 4, 8, 16), (4, 4, 6, 6), (3,)),
            ("b", (5, 5, 10, 16), (5, 5, 6, 6), (3,)),
            ("l", (7, 7, 14, 20), (6, 6, 6, 6), (3,)),
        ],
    )
    def test_attention_follows_from_the_specification(
        self, variant: str, heads: tuple[int, ...], ranges: tuple[int, ...], whole: tuple[int, ...]
    ) -> None:
        with torch.device("meta"):
            model = rmt(variant)
        for stage, layer in enumerate(model.layers):
            found = {type(block.retention) for block in layer.blocks}
            assert found == {MaSA if stage in whole else MaSAd}
            assert {block.retention.num_heads for block in layer.blocks} == {heads[stage]} == {layer.Relpos.num_heads}
            assert (layer.Relpos.initial_value, layer.Relpos.heads_range) == (2, ranges[stage])

    def test_changes(self) -> None:
        with torch.device("meta"):
            model = rmt("t", rotary=True, checkpointing=True, extra_norms=False)
        assert all(layer.Relpos.rotary and layer.checkpointing for layer in model.layers)
        with pytest.raises(ValueError, match="not 'xxl'"):
            rmt("xxl")
        with pytest.raises(ValueError, match="depths has 2 entries"):
            rmt("t", depths=(1, 1))


def idle(name: str, rotary: bool) -> bool:
    """Parameters that no loss can move: a bias of the keys adds the same to all logits of a query, and softmax drops
    that unless keys are rotated; BatchNorm drops the bias of the convolution in front of it."""
    in_front = name.endswith(("reduction.bias", *(f"proj.{place}.bias" for place in (0, 3, 6, 9))))
    return in_front or (name.endswith("k_proj.bias") and not rotary)


def constants(graph: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Every tensor that a graph holds."""
    nodes = [node.attribute[0].t for node in graph.graph.node if node.op_type == "Constant"]
    return [*graph.graph.initializer, *nodes]


def counted(dims: tuple[int, ...], depths: tuple[int, ...], ratios: tuple[int, ...], scaled: tuple[bool, ...]) -> int:
    """Parameters of a backbone, layer by layer."""

    def linear(c1: int, c2: int) -> int:
        return c1 * c2 + c2

    def conv3(c1: int, c2: int) -> int:
        return 9 * c1 * c2 + c2 + 2 * c2  # with bias and BatchNorm

    half = dims[0] // 2
    total = conv3(3, half) + conv3(half, half) + conv3(half, dims[0]) + conv3(dims[0], dims[0])
    for stage, dim in enumerate(dims):
        hidden = ratios[stage] * dim
        block = 4 * linear(dim, dim) + 26 * dim + 10 * dim + 4 * dim  # attention, lepe, pos, two norms
        block += linear(dim, hidden) + linear(hidden, dim) + 10 * hidden + 2 * dim * scaled[stage]
        total += depths[stage] * block + 2 * dim
        if stage < 3:
            total += conv3(dim, dims[stage + 1])
    return total
