"""What a bundle says about itself: ``manifest.json``, schema version 1.

A field that an older reader may safely ignore is added without a new schema number, so unknown fields of the manifest
are skipped. Whatever changes the meaning of a known field raises `SCHEMA`, and older readers refuse it. The two
contracts inside refuse unknown fields: nothing in them may be ignored.

``python -m lineside.runtime.manifest`` prints the JSON schema, which is kept in ``docs/manifest.schema.json``.
"""

from __future__ import annotations

import inspect
import json
import re
from typing import Annotated, Any, Literal

import msgspec

from lineside.runtime.contract import HeadContract, InputContract
from lineside.runtime.errors import BadOption, ContractMismatch, NotABundle, SchemaTooNew
from lineside.runtime.plain import indented

__all__ = [
    "MANIFEST",
    "SCHEMA",
    "Manifest",
    "Provenance",
    "Thresholds",
    "Variant",
    "decode_manifest",
    "encode_manifest",
    "json_schema",
]

MANIFEST = "manifest.json"
SCHEMA = 1
"""Newest schema that this version reads and the one that it writes."""

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Version = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9}){0,9}$")]


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """What a call uses where it names nothing else.

    Attributes:
        conf: A detection stays if its score is above this.
        iou: Of two boxes of one class that overlap more than this, the weaker goes.
        max_det: At most so many detections per picture.
    """

    conf: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.25
    iou: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.7
    max_det: Annotated[int, msgspec.Meta(ge=1)] = 300


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """Another precision of the same model.

    Attributes:
        file: Name inside the bundle, ``variants/….onnx``.
        precision: Arithmetic of the graph.
        engines: Names of the engines it is meant for; no other engine uses it.
        work: Share of the multiplications of its convolutions that the graph asks for in that precision, 0 to 1: what an
            engine is audited by. None where it was not counted.
    """

    file: str
    precision: Literal["fp16", "int8"]
    engines: tuple[str, ...]
    work: float | None = None


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where the weights come from.

    Attributes:
        model: Architecture, such as ``yolo11n-seg``.
        weights: Name of the weights file that was exported.
        weights_sha256: Its hash; empty where there was no file.
        dataset: What it was trained on.
        licence: Licence of the weights, as an SPDX name where there is one.
        modules: Files and packages with blocks of the user's own that the model is made of, and the sha256 of each.
        tools: Versions of the programs that made the bundle.
        created: ISO 8601 time of the export, UTC; empty where it was left out.
    """

    model: str = ""
    weights: str = ""
    weights_sha256: str = ""
    dataset: str = ""
    licence: str = ""
    modules: dict[str, str] = {}
    tools: dict[str, str] = {}
    created: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of ``manifest.json``.

    Attributes:
        schema: Version of this layout.
        name: Name of the model, for people.
        task: ``segment`` where the head has mask coefficients, else ``detect``.
        names: Class names, in the order of the head.
        input: Input contract.
        head: Head contract.
        model: File of the portable ONNX model.
        weights_storage: Element type in which its weights are stored; its arithmetic is float32 either way.
        opset: Opset of the default ONNX domain.
        custom_ops: Names of the model-local functions it uses.
        min_onnxruntime: Oldest onnxruntime that runs it.
        thresholds: Defaults of a call.
        variants: Other precisions, by name.
        provenance: Where it comes from.
        files: sha256 of every immutable file, by name inside the bundle; written by `bundle.write_manifest`.

    Raises:
        ContractMismatch: Names, task, input and head do not belong together.
    """

    schema: Literal[1] = 1
    name: str
    task: Literal["segment", "detect"] = "segment"
    names: tuple[str, ...]
    input: InputContract
    head: HeadContract
    model: str = "model.onnx"
    weights_storage: Literal["fp32", "fp16"] = "fp32"
    opset: Annotated[int, msgspec.Meta(ge=7)]
    custom_ops: tuple[str, ...] = ()
    min_onnxruntime: Version = "1.17"
    thresholds: Thresholds = Thresholds()
    variants: dict[str, Variant] = {}
    provenance: Provenance = Provenance()
    files: dict[str, Sha256] = {}

    def __post_init__(self) -> None:
        if len(self.names) != self.head.classes:
            raise ContractMismatch(
                f"the manifest names {len(self.names)} classes and its head contract has {self.head.classes}: "
                "export the bundle again"
            )
        if self.input.size != self.head.input_size:
            raise ContractMismatch(
                f"the manifest's input is {self.input.size} and its head contract is for {self.head.input_size}: "
                "export the bundle again"
            )
        if (self.task == "segment") != (self.head.coefficients > 0):
            raise ContractMismatch(
                f"the manifest's task is {self.task!r} and its head has {self.head.coefficients} mask coefficients: "
                "a segmentation model has some and a detection model has none; export the bundle again"
            )


class _Schema(msgspec.Struct):
    schema: int


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Reads a manifest.

    Args:
        data: Content of ``manifest.json``.
        where: Path to show in an error.

    Returns:
        The manifest.

    Raises:
        NotABundle: Not JSON, or not what a manifest says.
        SchemaTooNew: Written by a newer Lineside.
        ContractMismatch: Its parts do not belong together.
    """
    try:
        schema = msgspec.json.decode(data, type=_Schema).schema
        if schema > SCHEMA:
            raise SchemaTooNew(
                f"{where} has schema version {schema} and this Lineside reads up to {SCHEMA}: "
                "upgrade it (pip install -U lineside), or export the bundle again with this version"
            )
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, BadOption, RecursionError) as error:
        raise NotABundle(
            f"{where} is not a readable manifest ({error}): copy the bundle again from where it was made, "
            "or export it again with `lineside export`"
        ) from error


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as indented JSON with a closing line break."""
    data = msgspec.to_builtins(manifest)
    if not manifest.input.dynamic:
        del data["input"]["dynamic"]  # readers that do not know the word can read every static bundle
    if not manifest.head.focus:
        del data["head"]["focus"]  # and every bundle without a focus map
    return indented(data)


def json_schema() -> dict[str, Any]:
    """JSON schema (2020-12) of ``manifest.json``, with the docstrings as descriptions."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Manifest)}
    for definition in schema["$defs"].values():
        text = inspect.cleandoc(definition["description"])
        definition["description"], _, rest = text.partition("\n\nAttributes:\n")
        attributes = inspect.cleandoc(rest.partition("\n\n")[0])
        for line in re.sub(r"\n +", " ", attributes).splitlines():
            name, _, meaning = line.partition(": ")
            definition["properties"][name]["description"] = meaning
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schema))  # defaults that are tuples become lists
    return plain


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
