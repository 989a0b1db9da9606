"""RMT and FastKAN inside YOLO models: sizes, rows, scales, other input sizes; the zoo test does the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import yaml

from helpers.random_weights import picture, randomised
from helpers.zoo import labelled_batch
from lineside.export.cut import cut_tail, fused
from lineside.export.graph.build import build_graph
from lineside.export.heads import find_head
from lineside.export.modules.fast_kan import FastKANConv2d
from lineside.export.modules.rmt import MaSA, MaSAd, RetBlock
from lineside.export.modules.rmt.attention import MASK_BYTES
from lineside.export.ultra import load_model
from lineside.export.yolo.kan import C3k2_FastKAN
from lineside.export.yolo.rmt import C2PSA_MaSA, C2PSA_MaSAd, RMTBackbone
from lineside.runtime.errors import WeightsError
from oracle import rmt as oracle


def parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def changed(folder: Path, change: dict[str, Any], scale: str = "n") -> Any:
    """A model of a user's own yaml."""
    path = folder / f"yolo11{scale}-seg-mine.yaml"
    path.write_text(yaml.safe_dump({"base": "yolo11-seg.yaml", **change}), "utf-8")
    return load_model(str(path))


class TestSizes:
    """Parameters at n with 80 classes, as studied before they were built (million)."""

    @pytest.mark.parametrize(
        ("rows", "wanted"),
        [
            ({10: ["C2PSA_MaSA", {}]}, 2.899),
            ({10: ["C2PSA_MaSAd", {}]}, 2.899),
            ({8: ["C3k2_FastKAN", {"grid": 8}]}, 3.433),
            ({8: ["C3k2_FastKAN", {"grid": 4, "norm": "bn"}]}, 3.138),
            ({4: ["C3k2_FastKAN", {"e": 0.25}], 6: ["C3k2_FastKAN", {}], 8: ["C3k2_FastKAN", {}]}, 3.609),
        ],
    )
    def test_parameters(self, rows: dict[int, list[Any]], wanted: float, tmp_path: Path) -> None:
        width = {4: 512, 6: 512, 8: 1024, 10: 1024}
        replace = {layer: [-1, 2, name, [width[layer], options]] for layer, (name, options) in rows.items()}
        assert parameters(changed(tmp_path, {"replace": replace})) == pytest.approx(wanted * 1e6, abs=600)

    @pytest.mark.parametrize(("name", "wanted"), [("rmt", 2.899), ("kan", 3.138)])
    def test_of_the_zoo(self, name: str, wanted: float) -> None:
        assert parameters(load_model(f"yolo11n-seg-{name}.yaml")) == pytest.approx(wanted * 1e6, abs=600)


class TestBackbone:
    @pytest.mark.parametrize(
        ("width", "depth", "dims", "heads", "depths"),
        [
            (0.25, 0.5, [32, 64, 96, 128], [2, 2, 3, 4], [1, 1, 2, 1]),  # n
            (0.5, 0.5, [64, 128, 192, 256], [4, 4, 6, 8], [1, 1, 2, 1]),  # s
            (1.0, 1.0, [128, 256, 384, 512], [8, 8, 12, 16], [2, 2, 4, 2]),  # l
            (1.5, 1.0, [192, 384, 576, 768], [12, 12, 18, 24], [2, 2, 4, 2]),  # x
        ],
    )
    def test_scales(self, width: float, depth: float, dims: list[int], heads: list[int], depths: list[int]) -> None:
        with torch.device("meta"):
            backbone = RMTBackbone(3, width, depth, [128, 256, 384, 512], [2, 2, 4, 2], [8, 8, 12, 16])
        config = backbone.net.config
        assert [list(config.embed_dims), list(config.num_heads), list(config.depths)] == [dims, heads, depths]
        assert backbone.out_channels == tuple(dims[1:])
        retentions = [type(stage.blocks[0].retention) for stage in backbone.net.layers]
        assert retentions == [MaSAd, MaSAd, MaSAd, MaSA]

    def test_heads_share_odd_channels(self) -> None:
        with torch.device("meta"):
            backbone = RMTBackbone(3, 0.4, 1.0, [100, 200, 300, 400], [1] * 4, [4, 5, 9, 11], range=5)
        for dim, heads in zip(backbone.net.config.embed_dims, backbone.net.config.num_heads, strict=True):
            assert dim % (8 * heads) == 0
        assert backbone.net.config.heads_ranges == (5, 5, 5, 5)

    def test_every_parameter_is_trained(self) -> None:
        """Stage 1 is no output, so it has no norm that several GPUs would wait for."""
        model = load_model("yolo11n-seg-rmtbb.yaml")
        model.train()
        layer = model.model[0]
        sum(y.square().mean() for y in layer(torch.rand(2, 3, 96, 128))).backward()
        assert all(parameter.grad is not None for parameter in layer.parameters())

    def test_checkpointing_by_the_row(self, tmp_path: Path) -> None:
        row = {"dims": [64, 64, 64, 64], "depths": [1] * 4, "heads": [4] * 4, "checkpointing": True, "rotary": True}
        backbone = {"row": [-1, 1, "RMTBackbone", [row]], "taps": {4: 0, 6: 1, 8: 2}}
        model = changed(tmp_path, {"backbone": backbone})
        assert model.model[0].net.layers[2].checkpointing and model.model[0].net.layers[0].Relpos.rotary


class TestAttention:
    @pytest.mark.parametrize(("block", "kind"), [(C2PSA_MaSA, "whole"), (C2PSA_MaSAd, "chunk")])
    def test_is_the_block_on_half_of_the_channels(self, block: type[C2PSA_MaSA], kind: str) -> None:
        layer = block(128, 128, 2, heads="auto32", init=1, range=3, rotary=True)
        randomised(layer)
        assert [type(each.block) for each in layer.m] == [RetBlock, RetBlock]
        hyper = {"retention": kind, "num_heads": 2, "initial_value": 1, "heads_range": 3, "rotary": True}
        x = picture(1, 128, 4, 5)
        with torch.no_grad():
            half = layer.cv1(torch.from_numpy(x))
            inner = half[:, 64:].permute(0, 2, 3, 1).numpy().astype(float)
            for number in range(2):
                state = {name: value.numpy() for name, value in layer.m[number].block.state_dict().items()}
                inner = oracle.block(inner, state, hyper)
            wanted = layer.cv2(torch.cat([half[:, :64], torch.from_numpy(inner).float().permute(0, 3, 1, 2)], 1))
            np.testing.assert_allclose(layer(torch.from_numpy(x)), wanted, rtol=1e-4, atol=1e-4)

    def test_heads(self) -> None:
        counts = {c: C2PSA_MaSAd(c, c).m[0].block.retention.num_heads for c in (32, 64, 256)}
        assert counts == {32: 1, 64: 1, 256: 4}
        assert C2PSA_MaSA(64, 64, heads=8).m[0].block.retention.num_heads == 8

    @pytest.mark.parametrize(
        ("options", "said"), [({"heads": "many"}, "auto32"), ({"heads": 5}, "5 heads"), ({"init": -1}, "exponent")]
    )
    def test_rows_that_cannot_be(self, options: dict[str, Any], said: str, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match=f"Layer 10 .*C2PSA_MaSAd.*{said}"):
            changed(tmp_path, {"replace": {10: [-1, 2, "C2PSA_MaSAd", [1024, options]]}})

    def test_trains_at_one_size_and_runs_at_another(self) -> None:
        model = load_model("yolo11n-seg-rmt.yaml")
        for sides in ((96, 128), (160, 64)):
            with torch.no_grad():
                (rows, _), _ = model.eval()(torch.rand(1, 3, *sides))
            assert rows.shape[-1] == sum((sides[0] // stride) * (sides[1] // stride) for stride in (8, 16, 32))
        from ultralytics.cfg import get_cfg

        model.args = get_cfg(overrides={"task": "segment"})
        for side in (64, 96):
            loss = model.train().loss(labelled_batch(side))[0].sum()
            loss.backward()
            assert torch.isfinite(loss)

    def test_no_mask_is_folded_where_it_would_be_large(self, tmp_path: Path) -> None:
        """At P3 of 256 px every cell attends to 1024 others with 4 heads: a mask of 16.8 MB."""
        model = fused(changed(tmp_path, {"insert": {4: [-1, 1, "C2PSA_MaSA", [512, {"e": 0.25, "heads": 4}]]}}))
        head = find_head(model, (256, 256)).contract
        graph, _ = build_graph(model, head, 1, [str(index) for index in range(80)], "fp32")
        assert 4 * max(int(np.prod(tensor.dims)) for tensor in graph.graph.initializer) <= MASK_BYTES
        assert graph.ByteSize() < 13e6
        onnx.checker.check_model(graph)

    @pytest.mark.parametrize("block", ["C2PSA_MaSA", "C2PSA_MaSAd"])
    def test_a_map_of_one_cell_has_a_graph_too(self, block: str, tmp_path: Path) -> None:
        """At the smallest input there is. onnxslim loses a node of an attention that has nothing to choose from."""
        model = fused(changed(tmp_path, {"replace": {10: [-1, 2, block, [1024]]}}))
        head = find_head(model, (32, 32)).contract
        graph, _ = build_graph(model, head, 1, [str(index) for index in range(80)], "fp32")
        x = picture(1, 3, 32, 32)
        found = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"images": x}
        )
        with torch.no_grad():
            wanted = cut_tail(model, (32, 32))(torch.from_numpy(x))
        for got, want in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got, want.numpy(), atol=5e-5 * max(1.0, float(want.abs().max())))


class TestSplines:
    def test_rows(self, tmp_path: Path) -> None:
        row = [512, {"grid": 5, "norm": "bn", "grid_range": [-3, 3], "dropout": 0.1, "e": 0.25}]
        layer = changed(tmp_path, {"replace": {4: [-1, 2, "C3k2_FastKAN", row]}}).model[4]
        convolution = layer.m[0].cv2
        assert isinstance(layer, C3k2_FastKAN) and isinstance(convolution, FastKANConv2d)
        assert convolution.grid_size == 5 and convolution.rbf.grid_max == 3.0 and convolution.dropout.p == 0.1
        assert layer.c == 32 and isinstance(convolution.layer_norm[0], torch.nn.BatchNorm2d)

    def test_adds_what_came_in(self) -> None:
        block = C3k2_FastKAN(16, 16, norm="instance").m[0].eval()
        x = torch.from_numpy(picture(1, 8, 6, 6))
        with torch.no_grad():
            torch.testing.assert_close(block(x), x + block.cv2(block.cv1(x)))

    @pytest.mark.parametrize(("options", "said"), [({"norm": "layer"}, "norm is one of"), ({"grid": 1}, "1 points")])
    def test_rows_that_cannot_be(self, options: dict[str, Any], said: str, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match=f"Layer 8 .*C3k2_FastKAN.*{said}"):
            changed(tmp_path, {"replace": {8: [-1, 2, "C3k2_FastKAN", [1024, options]]}})
