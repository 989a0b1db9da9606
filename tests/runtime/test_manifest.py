from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineside.runtime.contract import HeadContract, InputContract
from lineside.runtime.errors import ContractMismatch, NotABundle, SchemaTooNew
from lineside.runtime.manifest import (
    Manifest,
    Provenance,
    Thresholds,
    Variant,
    decode_manifest,
    encode_manifest,
    json_schema,
)


def manifest(**changes: object) -> Manifest:
    fields: dict[str, object] = {
        "name": "bearing",
        "names": ("Defect",),
        "input": InputContract(name="images", size=(64, 96)),
        "head": HeadContract(kind="levels", classes=1, coefficients=32, input_size=(64, 96)),
        "opset": 20,
    }
    return Manifest(**{**fields, **changes})  # type: ignore[arg-type]


def altered(**changes: object) -> bytes:
    content = json.loads(encode_manifest(manifest()))
    content.update(changes)
    return json.dumps(content).encode()


def test_the_schema_in_the_documentation_is_up_to_date(repository: Path) -> None:
    kept = json.loads((repository / "docs/manifest.schema.json").read_text())
    assert kept == json_schema(), "python -m lineside.runtime.manifest > docs/manifest.schema.json"


def test_the_schema_describes_every_field() -> None:
    fields = [
        (kind, name, field)
        for kind, definition in json_schema()["$defs"].items()
        for name, field in definition["properties"].items()
    ]
    assert len(fields) > 30
    assert [(kind, name) for kind, name, field in fields if not field.get("description")] == []


@given(
    name=st.text(),
    conf=st.floats(0, 1, exclude_max=True),
    iou=st.floats(0, 1),
    max_det=st.integers(1, 10**6),
    tools=st.dictionaries(st.text(), st.text(), max_size=3),
    names=st.lists(st.text(), min_size=1, max_size=5),
)
def test_what_is_written_is_read_again(
    name: str, conf: float, iou: float, max_det: int, tools: dict[str, str], names: list[str]
) -> None:
    written = manifest(
        name=name,
        names=tuple(names),
        head=HeadContract(kind="flat", classes=len(names), coefficients=32, input_size=(64, 96)),
        thresholds=Thresholds(conf=conf, iou=iou, max_det=max_det),
        provenance=Provenance(tools=tools, licence="AGPL-3.0"),
        variants={"int8-cpu": Variant(file="variants/int8-cpu.onnx", precision="int8", engines=("onnxruntime",))},
        files={"model.onnx": "0" * 64},
    )
    assert decode_manifest(encode_manifest(written), "here") == written


def test_it_is_indented_json_that_any_tool_reads() -> None:
    text = encode_manifest(manifest()).decode()
    assert text.endswith("}\n") and text.count("\n") > 40
    assert json.loads(text)["head"]["strides"] == [8, 16, 32]


def test_a_field_from_the_future_is_skipped() -> None:
    assert decode_manifest(altered(colour_profile="sRGB"), "here") == manifest()


@pytest.mark.parametrize("version", [2, 99])
def test_a_newer_schema_is_refused_whatever_else_it_holds(version: int) -> None:
    with pytest.raises(SchemaTooNew, match=rf"there/manifest.json has schema version {version} .*pip install -U"):
        decode_manifest(json.dumps({"schema": version, "model": {"onnx": "m.onnx"}}).encode(), "there/manifest.json")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "truncated"),
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b"\xff\xfe", "malformed"),
        (b"{}", "missing required field `schema`"),
        (b'{"schema": 1}', "missing required field"),
        (b'{"schema": 0}', "Invalid enum value 0"),
        (altered(opset="20"), r"\$.opset"),
        (altered(files={"model.onnx": "abc"}), r"\$.files"),
        (altered(min_onnxruntime="newest"), r"\$.min_onnxruntime"),
        (altered(thresholds={"conf": 1.0}), r"\$.thresholds.conf"),
        (altered(thresholds={"max_det": 0}), r"\$.thresholds.max_det"),
        (altered(head={"kind": "pyramid"}), r"\$.head.kind"),
        (altered(input={"name": "images", "size": [64, 96], "scale": 1.0}), "scale=1.0"),
        (altered(input={"name": "images", "size": [64, 96], "padding": 0}), "padding=0"),
        (altered(input={"name": "images", "size": [64, 96], "batch": 0}), "batch=0"),
        (altered(input={"name": "images", "size": [64, 96], "crop": True}), "unknown field `crop`"),
        (altered(head={"kind": "flat", "classes": 1, "coefficients": 32, "input_size": [60, 96]}), "multiples of 32"),
    ],
)
def test_what_is_no_manifest_is_refused_with_place_reason_and_remedy(data: bytes, says: str) -> None:
    with pytest.raises(NotABundle, match=rf"(?s)^there/manifest.json .*{says}.*lineside export"):
        decode_manifest(data, "there/manifest.json")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"names": ("a", "b")}, "names 2 classes"),
        ({"input": InputContract(name="images", size=(64, 64))}, r"\(64, 64\).*\(64, 96\)"),
        ({"task": "detect"}, "32 mask coefficients"),
        ({"head": HeadContract(kind="flat", classes=1, coefficients=0, input_size=(64, 96))}, "0 mask coefficients"),
    ],
)
def test_parts_that_do_not_belong_together(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ContractMismatch, match=says):
        manifest(**changes)
    plain = msgspec.to_builtins(changes)
    with pytest.raises(ContractMismatch, match=says):
        decode_manifest(altered(**plain), "here")
