"""The audit, on texts composed after NVIDIA's description of the engine inspector; no TensorRT wrote them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lineside.runtime.engines.tensorrt.audit import audit, check_audit
from lineside.runtime.errors import CheckFailed


def convolution(kind: str, count: int = 9 * 64 * 64, side: int = 40, layer: str = "CaskConvolution") -> dict[str, Any]:
    tensor = {"Name": "t", "Location": "Device", "Dimensions": [1, 64, side, side], "Format/Datatype": kind}
    return {
        "Name": "/model.0/conv/Conv",
        "LayerType": layer,
        "Inputs": [tensor],
        "Outputs": [tensor],
        "ParameterType": "Convolution",
        "Kernel": [3, 3],
        "OutMaps": 64,
        "Groups": 1,
        "Weights": {"Type": "Half", "Count": count},
        "Bias": {"Type": "Half", "Count": 64},
        "TacticName": "sm80_xmma_fprop_implicit_gemm",
    }


def text(*layers: Any, tensors: str = "Bindings") -> str:
    return json.dumps({"Layers": list(layers), tensors: []})


HALF = ("Half", "Row major linear FP16 format", "Channel major FP16 format where channel % 8 == 0", "FP16 NC/8HW8")
INT8 = ("Int8", "Thirty-two wide channel vectorized row major Int8 format", "INT8 NC/32HW32")
FLOAT = ("Float", "Row major linear FP32 format", "FP32 NCHW", "TF32")


@pytest.mark.parametrize("tensors", ["Bindings", "I/O Tensors"])
@pytest.mark.parametrize(
    ("kind", "name"), [(k, "fp16") for k in HALF] + [(k, "int8") for k in INT8] + [(k, "fp32") for k in FLOAT]
)
def test_every_spelling_of_a_type_is_read(kind: str, name: str, tensors: str) -> None:
    found = audit(text(convolution(kind), tensors=tensors), "fp16")
    assert found.work == {name: 1.0}
    assert found.passed == (name != "fp32")


def test_work_counts_by_multiplications_and_not_by_layers() -> None:
    small, large = convolution("Float", side=4), convolution("Half", side=40)
    found = audit(text(small, small, small, large), "fp16")
    assert found.share == pytest.approx(1600 / 1648)
    assert (found.layers, found.convolutions, found.passed) == (4, 4, True)
    assert not audit(text(large, convolution("Float", side=20)), "fp16").passed


def test_int8_may_keep_its_head_in_float_and_counts_for_fp16() -> None:
    body, head = convolution("Int8"), convolution("Half", side=20)
    found = audit(text(body, body, head), "int8")
    assert found.share == pytest.approx(2 / 2.25)
    assert found.passed
    assert audit(text(body, head), "fp16").share == 1
    assert not audit(text(body, *[head] * 7), "int8").passed


def test_a_model_is_held_to_nine_tenths_of_what_it_asks_for() -> None:
    body, head = convolution("Int8"), convolution("Half", side=20)
    half = text(body, head, head, head, head)
    assert audit(half, "int8", asked=0.5).passed and audit(half, "int8", asked=0.55).passed
    assert not audit(half, "int8", asked=0.6).passed
    assert audit(half, "int8", least=0.1, asked=0.9).passed  # what was said with --least goes before


def test_an_engine_in_another_precision_is_refused_in_words() -> None:
    found = audit(text(convolution("Float"), convolution("Half", side=4)), "fp16")
    with pytest.raises(CheckFailed, match="does not compute in fp16 as asked.*99% fp32.*at least 85%.*was not kept"):
        check_audit(found, "fp16")
    check_audit(audit(text(convolution("Float"), convolution("Half", side=4)), "fp16", 0.005), "fp16")
    check_audit(audit(text(convolution("Float")), "fp32"), "fp32")


def test_what_is_fused_is_counted_and_nothing_is_claimed_of_it() -> None:
    fused = {"Name": "{ForeignNode[/model.0...]}", "LayerType": "Myelin", "Inputs": [], "Outputs": []}
    found = audit(text(fused, "only a name", convolution("Half", layer="kgen")), "fp16")
    assert (found.share, found.opaque, found.passed) == (None, 3, True)
    assert "not known" in found.sentence("fp16")
    assert "1 fused layers" in audit(text(fused, convolution("Half")), "fp16").sentence("fp16")


@pytest.mark.parametrize("said", ["", "no json", "[]", "{}", '{"Bindings": []}'])
def test_what_is_not_the_inspectors_json_fails(said: str) -> None:
    with pytest.raises(CheckFailed, match="cannot be read"):
        audit(said, "fp16")


def test_tensors_that_are_only_names_are_not_seen() -> None:
    layer = {**convolution("Half"), "Inputs": ["x"], "Outputs": ["y"]}
    assert audit(json.dumps({"Layers": [layer]}), "fp16").share is None
