"""Deformable convolutions and the dynamic head in YOLO11-seg: sizes, what learns, graphs in both forms."""

from __future__ import annotations

import copy
import json
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
from lineside.export.bundle import export_bundle
from lineside.export.cut import cut_tail, fused
from lineside.export.gate_pictures import gate_pictures
from lineside.export.graph.build import build_graph
from lineside.export.graph.passes import run_passes
from lineside.export.graph.simplify import SIMPLIFY
from lineside.export.heads import find_head
from lineside.export.importing import import_onnx
from lineside.export.ops.declare import DECLARE
from lineside.export.ops.native_deform import Deform
from lineside.export.ops.op import DOMAIN
from lineside.export.settle import settle
from lineside.export.trace import to_onnx
from lineside.export.ultra import load_model
from lineside.runtime.errors import ExportError, WeightsError

SIDE = 64
OURS = ("dcn", "dyhead")
NODES = {"dcn": {"k3_s1": 2}, "dyhead": {"k3_s1": 5, "k3_s2": 2}}


@cache
def built(name: str, scale: str = "n") -> Any:
    """A model with seeded weights whose offsets are not zero."""
    model = load_model(f"yolo11{scale}-seg-{name}.yaml")
    torch.manual_seed(0)
    for part, parameter in model.named_parameters():
        if "offset" in part:
            torch.nn.init.normal_(parameter, 0, 0.05)
    return model


@cache
def graph_of(name: str, deform: Deform = "portable") -> onnx.ModelProto:
    model = fused(built(name))
    head = find_head(model, (SIDE, SIDE)).contract
    return build_graph(model, head, 1, ["a"] * head.classes, "fp32", deform=deform)[0]


def assert_same(model: torch.nn.Module, graph: onnx.ModelProto) -> None:
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).random((1, 3, SIDE, SIDE), np.float32)
    found = session.run(None, {session.get_inputs()[0].name: x})
    with torch.no_grad():
        wanted = model(torch.from_numpy(x))
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want.numpy(), atol=5e-5 * max(1.0, float(want.abs().max())))


@pytest.mark.parametrize(
    ("name", "scale", "millions"), [("dcn", "n", 2.858), ("dyhead", "n", 2.793), ("dyhead", "s", 9.544)]
)
def test_parameters(name: str, scale: str, millions: float) -> None:
    assert round(sum(parameter.numel() for parameter in built(name, scale).parameters()) / 1e6, 3) == millions


@pytest.mark.parametrize("name", OURS)
def test_every_parameter_of_our_blocks_learns(name: str) -> None:
    model = copy.deepcopy(built(name))
    own = [part for part in model.modules() if type(part).__module__.startswith("lineside.export.modules")]
    assert own
    trained_a_little(model, labelled_batch(SIDE), steps=1)
    for part in own:
        for which, parameter in part.named_parameters():
            assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), which
            assert bool((parameter.grad != 0).any()), which


@pytest.mark.parametrize("name", OURS)
def test_graph_holds_one_node_per_convolution(name: str) -> None:
    portable, native = graph_of(name), graph_of(name, "native")
    ours = Counter(node.op_type for node in portable.graph.node if node.domain == DOMAIN)
    assert ours == {f"ModDeformConv2d_{which}": count for which, count in NODES[name].items()}
    standard = [node for node in native.graph.node if node.op_type == "DeformConv"]
    assert len(standard) == ours.total()
    for graph in (portable, native):
        kinds = {node.op_type for node in graph.graph.node}
        assert not {"BatchNormalization", "GridSample", "Shape"} & kinds
        assert_same(cut_tail(fused(built(name)), (SIDE, SIDE)), graph)


def test_deploy_form_computes_the_same() -> None:
    block = copy.deepcopy(built("dcn").model[6].m[0].cv2)
    randomised(block)
    x = torch.from_numpy(picture(2, block.dcn.conv.weight.shape[1], 9, 8))
    form = block.deployed()
    assert isinstance(form.norm, torch.nn.Identity) and isinstance(block.norm, torch.nn.BatchNorm2d)
    with torch.no_grad():
        torch.testing.assert_close(form(x), block(x), atol=2e-5, rtol=2e-5)


def test_prototypes_read_the_raw_level_and_towers_what_the_dynamic_head_gives() -> None:
    head = copy.deepcopy(built("dyhead").model[-1]).eval()
    levels = [torch.from_numpy(picture(1, c, s, s)) for c, s in ((64, 8), (128, 4), (256, 2))]
    with torch.no_grad():
        before = head(levels)
        for parameter in head.dyhead.parameters():
            parameter.mul_(1.5)
        after = head(levels)
    assert torch.equal(before[0][1], after[0][1])
    assert not torch.equal(before[0][0], after[0][0])


def test_head_without_its_tail_makes_the_same_prototypes() -> None:
    model = built("dyhead").eval()
    x = torch.from_numpy(picture(1, 3, SIDE, SIDE))
    with torch.no_grad():
        torch.testing.assert_close(cut_tail(model, (SIDE, SIDE))(x)[-1], model(x)[0][1])


def test_one_to_one_part_teaches_nothing_but_itself(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "base: yolo11-seg.yaml\nend2end: true\nhead: [[16, 19, 22], 1, Segment_DyHead, [nc, 32, 256, 32, 1]]\n"
    )
    model: Any = load_model(tmp_path / "mine.yaml").train()
    predictions = model(torch.zeros(1, 3, SIDE, SIDE))
    for part, taught in (("one2one", False), ("one2many", True)):
        model.zero_grad()
        sum(predictions[part][key].sum() for key in ("boxes", "scores", "mask_coefficient")).backward(retain_graph=True)
        found = [
            parameter.grad is not None and bool(parameter.grad.any())
            for parameter in model.model[-1].inlets.parameters()
        ]
        assert any(found) == taught


@pytest.mark.parametrize("row", ["[[16, 19, 22], 1, Segment_DyHead, [nc, 32, 256, 40, 1]]"])
def test_channels_that_do_not_fit(row: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"base: yolo11-seg.yaml\nhead: {row}\n")
    with pytest.raises(WeightsError, match="multiple of 16"):
        load_model(tmp_path / "mine.yaml")


@pytest.mark.parametrize("name", OURS)
def test_native_bundle_agrees_with_torch_and_says_what_it_needs(
    name: str, small_pictures: Path, tmp_path: Path
) -> None:
    weights, bundle = f"yolo11n-seg-{name}.yaml", tmp_path / "x.bundle"
    made = export_bundle(weights, bundle, imgsz=(96, 96), images=small_pictures, deform="native")
    assert all(verdict.passed for verdict in made.parity.verdicts)
    assert (made.manifest.opset, made.manifest.min_onnxruntime, made.manifest.custom_ops) == (19, "1.25", ())


def test_portable_bundle_names_its_functions(cli: Any, small_pictures: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "x.bundle"
    words = ("--imgsz", "96", "--weights", "fp16", "--images", small_pictures)
    done = cli("export", "yolo11n-seg-dcn.yaml", "-o", bundle, *words)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["custom_ops"] == ["ModDeformConv2d_k3_s1"]
    assert manifest["min_onnxruntime"] == "1.17"


def test_native_form_of_a_model_without_deformable_convolutions() -> None:
    model = fused(load_model("yolo11n-seg.yaml"))
    head = find_head(model, (SIDE, SIDE)).contract
    with pytest.raises(ExportError, match="leave out --deform native"):
        build_graph(model, head, 1, ["a"] * head.classes, "fp32", deform="native")


def test_a_graph_with_functions_can_be_imported(small_pictures: Path, tmp_path: Path) -> None:
    model = copy.deepcopy(built("dcn"))
    settle(model, gate_pictures(["a"], small_pictures, 8).settling)
    model = fused(model)
    model.model[-1].export, model.model[-1].format = True, "onnx"
    graph = run_passes(to_onnx(model, (1, 3, 96, 96), ["output0", "output1"]), [SIMPLIFY, DECLARE])[0]
    for key, value in (("names", repr({n: str(n) for n in range(80)})), ("task", "segment"), ("imgsz", "[96, 96]")):
        graph.metadata_props.add(key=key, value=value)
    onnx.save(graph, tmp_path / "model.onnx")
    made = import_onnx(tmp_path / "model.onnx", tmp_path / "x.bundle", images=small_pictures)
    assert all(verdict.passed for verdict in made.parity.verdicts)
    assert made.manifest.custom_ops == ("ModDeformConv2d_k3_s1",)
    assert made.manifest.head.kind == "levels"  # the tail could be cut off as ever
