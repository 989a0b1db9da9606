"""Recognises a foreign ONNX model from its tensors' shapes and its metadata, never from the file's name."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from lineside.export.graph.finish import tensor_shapes
from lineside.runtime.contract import HeadContract, InputContract
from lineside.runtime.errors import BadOption, ExportError

__all__ = ["Foreign", "literal", "load_onnx", "recognise"]

STRIDES = (8, 16, 32)
TASKS = ("segment", "detect")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Foreign:
    """A foreign model, recognised.

    Attributes:
        input: Input contract.
        head: Head contract.
        names: Class names.
        opset: Opset of the default ONNX domain.
        metadata: What the exporter left in the file.
    """

    input: InputContract
    head: HeadContract
    names: tuple[str, ...]
    opset: int
    metadata: Mapping[str, str] = field(default_factory=dict)


def load_onnx(path: Path) -> onnx.ModelProto:
    """Reads an ONNX file.

    Raises:
        ExportError: There is no such file, or it is not a whole ONNX model.
    """
    if not path.is_file():
        raise ExportError(f"there is no file {path}: give an .onnx file")
    try:
        model = onnx.load(path)  # not checked: engines are more lenient than the checker, and so are exporters
    except Exception as error:  # protobuf and missing weight files each raise their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"{path} is not a whole ONNX model ({reason}): export it again") from error
    return model


def literal(text: str | None) -> Any:
    """The Python literal that a metadata entry holds; None where it holds none."""
    try:
        return ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def recognise(model: onnx.ModelProto) -> Foreign:
    """Works out the contracts of a foreign model.

    Args:
        model: An ONNX model.

    Returns:
        Its contracts: ``flat`` for ``(batch, 4 + classes + coefficients, anchors)``, ``end2end`` for
        ``(batch, rows, 6 + coefficients)``; with prototypes where it has masks.

    Raises:
        ExportError: It is no model that can be run, in one sentence why.
    """
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    task = metadata.get("task")
    if task is not None and task not in TASKS:
        raise ExportError(f"the model is for the task '{task}', and Lineside runs {' and '.join(TASKS)}: give another")
    contract = _input(model)
    outputs = _outputs(model)
    names = _names(metadata)
    rows, protos = _split(outputs, contract)
    coefficients = protos[1] if protos else 0
    head = _head(rows, coefficients, contract.size, names)
    if names is None:
        if not coefficients:
            raise ExportError(
                "the model has one output and no class names, so it may be for detection, pose or oriented boxes: "
                "export it with its metadata"
            )
        names = tuple(str(index) for index in range(head.classes))
    if head.classes != len(names):
        raise ExportError(
            f"the model's output {list(rows)} has room for {head.classes} classes and its metadata names {len(names)}: "
            "this is another kind of head; export it as a *-seg or detection model"
        )
    opset = {entry.domain: entry.version for entry in model.opset_import}.get("", 0)
    return Foreign(contract, head, names, opset, metadata)


def _input(model: onnx.ModelProto) -> InputContract:
    """The one input: static, float32, three colours."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    shapes = tensor_shapes(inputs)
    if len(inputs) != 1 or len(shapes[inputs[0].name]) != 4:
        raise ExportError(
            f"the model's inputs are {shapes}, expected one of shape (batch, 3, h, w): it is no YOLO model"
        )
    value = inputs[0]
    batch, channels, height, width = _static(value.name, shapes[value.name])
    if channels != 3:
        raise ExportError(f"the model's input {value.name} has {channels} channels, expected 3 (RGB)")
    _float32(value)
    return InputContract(name=value.name, size=(height, width), batch=batch)


def _outputs(model: onnx.ModelProto) -> list[Shape]:
    """Shapes of the outputs: all static, all float32."""
    for value in model.graph.output:
        _float32(value)
    return [_static(name, shape) for name, shape in tensor_shapes(model.graph.output).items()]


def _static(name: str, shape: Sequence[int | str]) -> Shape:
    sides = tuple(side for side in shape if isinstance(side, int) and side > 0)
    if len(sides) != len(shape):
        raise ExportError(
            f"the tensor {name} has shape {list(shape)}, which is not fixed: export the model without dynamic shapes"
        )
    return sides


def _float32(value: onnx.ValueInfoProto) -> None:
    kind = value.type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        raise ExportError(
            f"the tensor {value.name} holds {TensorProto.DataType.Name(kind).lower()} values, expected float: "
            "export the model with float32 inputs and outputs"
        )


def _names(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Class names from the metadata; None where there are none."""
    found = literal(metadata.get("names"))
    if isinstance(found, (list, tuple)):
        found = dict(enumerate(found))
    if not isinstance(found, dict) or sorted(found) != list(range(len(found))) or not found:
        return None
    return tuple(str(found[index]) for index in range(len(found)))


def _split(outputs: Sequence[Shape], contract: InputContract) -> tuple[Shape, Shape | None]:
    """The output with the detections, and the prototypes where there are any."""
    shapes = ", ".join(map(str, map(list, outputs)))
    if not 1 <= len(outputs) <= 2 or len(outputs[0]) != 3 or any(shape[0] != contract.batch for shape in outputs):
        raise ExportError(
            f"the model's outputs are {shapes}, expected (batch, channels, anchors) or (batch, rows, channels), then "
            "prototypes: it is no YOLO segmentation or detection model"
        )
    if len(outputs) == 1:
        return outputs[0], None
    protos = outputs[1]
    quarter = (contract.size[0] // 4, contract.size[1] // 4)
    if len(protos) != 4 or protos[2:] != quarter:
        raise ExportError(f"the model's second output is {list(protos)}, expected prototypes (batch, n, {quarter})")
    return outputs[0], protos


def _head(rows: Shape, coefficients: int, size: tuple[int, int], names: tuple[str, ...] | None) -> HeadContract:
    """``flat`` or ``end2end``, whichever the shape fits."""
    try:
        anchors = HeadContract(
            kind="flat", classes=1, coefficients=coefficients, input_size=size, strides=STRIDES
        ).anchors
    except BadOption as error:
        raise ExportError(f"the model's input of {size[0]}x{size[1]} fits no YOLO head: {error}") from error
    _, channels, last = rows
    kind: Any = None
    classes = 0
    if last == anchors and channels - 4 - coefficients >= 1:
        kind, classes = "flat", channels - 4 - coefficients
    elif last == 6 + coefficients and names is not None:
        kind, classes = "end2end", len(names)
    elif last == 6 + coefficients:
        raise ExportError(
            f"the model's output {list(rows)} is an end-to-end one without class names: export it with them"
        )
    if kind is None:
        raise ExportError(
            f"the model's output {list(rows)} is neither (batch, 4 + classes + {coefficients}, {anchors}) nor "
            f"(batch, rows, {6 + coefficients}): it is a head that Lineside does not know"
        )
    return HeadContract(kind=kind, classes=classes, coefficients=coefficients, input_size=size, strides=STRIDES)
