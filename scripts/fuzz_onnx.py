"""Fuzz targets around ONNX: what `lineside import` recognises, and what the engine loads; bytes and whole graphs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_decode import Words
from fuzz_targets import Prepared, bundle_of


def seeds(kinds: tuple[str, ...] = ("flat", "end2end", "levels")) -> list[bytes]:
    """Small models of each kind, with the metadata that ultralytics leaves."""
    from helpers.tiny_bundle import tiny_model
    from lineside.runtime.contract import HeadContract

    made = []
    for kind in kinds:
        model = tiny_model(HeadContract(kind=kind, classes=2, coefficients=4, input_size=(32, 32)))  # type: ignore[arg-type]
        for key, value in (
            ("names", "{0: 'a', 1: 'b'}"),
            ("task", "segment"),
            ("stride", "32"),
            ("args", "{'nms': 0}"),
        ):
            model.metadata_props.add(key=key, value=value)
        made.append(model.SerializeToString())
    return made


def onnx_bytes(scratch: Path) -> Prepared:
    """The recogniser on the bytes of a file."""
    from lineside.export.foreign import load_onnx, recognise

    path = scratch / "model.onnx"

    def try_one(data: bytes) -> None:
        path.write_bytes(data)
        recognise(load_onnx(path))

    return try_one, seeds()


def onnx_graph(scratch: Path) -> Prepared:
    """The recogniser on graphs that are whole and strange."""
    from lineside.export.foreign import load_onnx, recognise

    models, path = seeds(), scratch / "model.onnx"

    def try_one(data: bytes) -> None:
        path.write_bytes(strange(models, data))
        recognise(load_onnx(path))

    return try_one, numbers()


def engine_bytes(scratch: Path) -> Prepared:
    """What onnxruntime says to the bytes of a model, hashes recomputed."""
    models = seeds()

    def try_one(data: bytes) -> None:
        load_and_run(data)

    return try_one, models


def engine_graph(scratch: Path) -> Prepared:
    """What onnxruntime says to graphs that are whole and strange."""
    models = seeds()

    def try_one(data: bytes) -> None:
        load_and_run(strange(models, data))

    return try_one, numbers()


def load_and_run(model: bytes) -> None:
    """Opens the engine on a bundle around the model, and runs it once where it opens."""
    import msgspec

    from lineside.runtime.contract import HeadContract, InputContract
    from lineside.runtime.engines import open_engines
    from lineside.runtime.engines.base import EngineOptions
    from lineside.runtime.manifest import Manifest

    kind: Any = "levels" if b"box8" in model else "flat"
    head = HeadContract(kind=kind, classes=2, coefficients=4, input_size=(32, 32))
    manifest = Manifest(
        name="fuzz", names=("a", "b"), head=head, input=InputContract(name="images", size=(32, 32)), opset=17
    )
    manifest = msgspec.structs.replace(manifest, files={"model.onnx": hashlib.sha256(model).hexdigest()})
    (engine,) = open_engines(
        "onnxruntime", bundle_of({"model.onnx": model}, manifest), EngineOptions(threads=1, lanes=1)
    )
    engine.infer(engine.buffers())


def numbers() -> list[bytes]:
    """Seeds of `strange`."""
    rng = np.random.default_rng(2)
    return [rng.integers(0, 256, 60, np.uint8).tobytes() for _ in range(20)]


def strange(models: list[bytes], data: bytes) -> bytes:
    """One of the models, changed in up to six places that the data names; it parses, whatever it means."""
    import onnx

    words = Words(data)
    model: Any = onnx.load_from_string(models[words.number(len(models) - 1)])
    for _ in range(1 + words.number(5)):
        CHANGES[words.number(len(CHANGES) - 1)](model, words)
    return model.SerializeToString()  # type: ignore[no-any-return]


def _one(items: Any, words: Words) -> Any:
    return items[words.number(len(items) - 1)] if len(items) else None


def _operator(model: Any, words: Words) -> None:
    other = ("Conv", "Reshape", "Gather", "TopK", "Loop", "If", "Resize", "Pad", "Expand", "Nope", "", "GridSample")
    node = _one(model.graph.node, words)
    if node is not None:
        node.op_type = _one(other, words)


def _wire(model: Any, words: Words) -> None:
    node, other = _one(model.graph.node, words), _one(model.graph.node, words)
    if node is not None and len(node.input):
        node.input[words.number(len(node.input) - 1)] = _one([*other.output, *other.input, "", "nowhere"], words)


def _attribute(model: Any, words: Words) -> None:
    node = _one([node for node in model.graph.node if len(node.attribute)], words)
    if node is not None:
        attribute = _one(node.attribute, words)
        value = int.from_bytes(words.take(8), "little", signed=True) >> words.number(63)
        if len(attribute.ints):
            attribute.ints[words.number(len(attribute.ints) - 1)] = value
        attribute.i = value


def _weight(model: Any, words: Words) -> None:
    tensor = _one(model.graph.initializer, words)
    if tensor is None:
        return
    if words.number(1) and len(tensor.dims):
        tensor.dims[words.number(len(tensor.dims) - 1)] = int.from_bytes(words.take(8), "little", signed=True) >> (
            words.number(63)
        )
    elif words.number(1):
        tensor.data_type = words.number(25)
    else:
        tensor.raw_data = (words.take(16) * (len(tensor.raw_data) // 16 + 1))[: len(tensor.raw_data) - words.number(2)]


def _shape(model: Any, words: Words) -> None:
    value = _one([*model.graph.input, *model.graph.output], words)
    dimensions = value.type.tensor_type.shape.dim if value is not None else ()
    if len(dimensions):
        side = dimensions[words.number(len(dimensions) - 1)]
        if words.number(3):
            side.dim_value = int.from_bytes(words.take(4), "little", signed=True) >> words.number(31)
        else:
            side.dim_param = "n"
    if value is not None and words.number(5) == 5:
        value.type.tensor_type.elem_type = words.number(25)


def _metadata(model: Any, words: Words) -> None:
    entry = _one(model.metadata_props, words)
    if entry is not None:
        texts = (
            "",
            "{",
            "{0: 'a'}",
            "[" * 500,
            "{'a': 1}",
            "9" * 5000,
            "['a', 'b']",
            "{-1: 2, 0: 3}",
            "{0: 'a', 'b': 1}",
            "{0: {}, 1: []}",
        )
        entry.value = _one(texts, words)


def _remove(model: Any, words: Words) -> None:
    part = _one((model.graph.node, model.graph.initializer, model.graph.output, model.graph.input), words)
    if len(part):
        del part[words.number(len(part) - 1)]


def _versions(model: Any, words: Words) -> None:
    model.ir_version = words.number(300)
    if len(model.opset_import):
        model.opset_import[0].version = words.number(40)
        model.opset_import[0].domain = _one(("", "ai.onnx", "lineside.ops", "com.microsoft"), words)


CHANGES = (_operator, _wire, _attribute, _weight, _shape, _metadata, _remove, _versions)
