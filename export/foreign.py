"""Recognises a foreign ONNX model from its tensors' shapes and its metadata, never from the file's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from onnx import TensorProto

from lineside.export.graph.finish import tensor_shapes
from lineside.export.literals import literal
from lineside.export.other_formats import refuse_other_formats
from lineside.runtime.contract import HeadContract, InputContract
from lineside.runtime.errors import BadOption, ExportError

__all__ = ["Foreign", "load_onnx", "metadata_of", "read_graph", "recognise"]

LADDERS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32), (8, 16))
"""Strides that YOLO heads have: the usual ones, with a level for large objects, with one for small ones, and tiny models."""

TASKS = ("segment", "detect")

KINDS = {number: name.lower() for name, number in TensorProto.DataType.items()}
"""Names of element types; a damaged file may hold other numbers."""

MOST_PIXELS = 1 << 26
"""Pixels of an input, over the whole batch: 8192x8192, far beyond any model of this kind."""

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


def read_graph(path: Path) -> onnx.ModelProto:
    """Reads an ONNX file without the weights that may lie beside it.

    Raises:
        ExportError: There is no such file, or it is not a whole ONNX model.
    """
    refuse_other_formats(path)
    try:
        model = onnx.load(path, load_external_data=False)  # not checked: engines are more lenient than the checker
    except Exception as error:  # protobuf raises what it likes
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"{path} is not a whole ONNX model ({reason}): export it again") from error
    if not model.graph.node:
        raise ExportError(f"{path} is not a whole ONNX model (it holds no graph): export it again")
    return model


def load_onnx(path: Path) -> onnx.ModelProto:
    """Reads an ONNX file, and the weights beside it.

    Raises:
        ExportError: There is no such file, or it is not a whole ONNX model.
    """
    model = read_graph(path)
    files = sorted({file for tensor in model.graph.initializer if (file := _external(tensor))})
    missing = [file for file in files if not (path.parent / file).is_file()]
    if missing:
        raise ExportError(
            f"{path} keeps its weights in '{missing[0]}', which is not beside it: copy that file there as well"
        )
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # a file that is too short, or a way out of the folder
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"the weights of {path} beside it cannot be read ({reason}): copy them again") from error
    return model


def _external(tensor: onnx.TensorProto) -> str:
    """Name of the file that holds a tensor's numbers; empty where the model itself does."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return ""
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "?")


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """What an exporter left in the file about the model."""
    return {entry.key: entry.value for entry in model.metadata_props}


def recognise(model: onnx.ModelProto, names: Sequence[str] | None = None) -> Foreign:
    """Works out the contracts of a foreign model.

    Args:
        model: An ONNX model.
        names: Class names to use instead of those of its metadata.

    Returns:
        Its contracts: ``flat`` for ``(batch, 4 + classes + coefficients, anchors)``, ``end2end`` for
        ``(batch, rows, 6 + coefficients)``; with prototypes where it has masks.

    Raises:
        ExportError: It is no model that can be run, in one sentence why.
    """
    metadata = metadata_of(model)
    task = metadata.get("task")
    if task is not None and task not in TASKS:
        raise ExportError(f"the model is for the task '{task}', and Lineside runs {' and '.join(TASKS)}: give another")
    if model.producer_name == "lineside":
        raise ExportError("the model is that of a Lineside bundle: load the bundle that it was taken from")
    contract = _input(model)
    outputs = _outputs(model)
    named = tuple(names) if names else _names(metadata)
    rows, protos = _split(outputs, contract)
    coefficients = protos[1] if protos else 0
    head = _head(rows, coefficients, contract.size, named, metadata.get("end2end") == "True")
    if named is None:
        if not coefficients:
            raise ExportError(
                "the model has one output and no class names, so it may be for detection, pose or oriented boxes: "
                "export it with its metadata, or name its classes with --names"
            )
        named = tuple(str(index) for index in range(head.classes))
    if head.classes != len(named):
        raise ExportError(
            f"the model's output {list(rows)} has room for {head.classes} classes and {len(named)} are named: "
            "give as many with --names; where the names are right this is another kind of head"
        )
    opset = {entry.domain: entry.version for entry in model.opset_import}.get("", 0)
    return Foreign(contract, head, named, opset, metadata)


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
    if width == 3 and channels != 3:
        raise ExportError(
            f"the model's input {value.name} has its channels last, {[batch, channels, height, width]}: "
            "export it with the shape (batch, 3, h, w)"
        )
    if batch * height * width > MOST_PIXELS:
        raise ExportError(
            f"the model's input {value.name} has {batch}x{height}x{width} pixels, more than {MOST_PIXELS}: "
            "the file is damaged, or was exported at a size by mistake"
        )
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
            f"the tensor {name} has shape {list(shape)}, which is not fixed: export the model without dynamic shapes, "
            "or give the size it was trained at with --imgsz"
        )
    return sides


def _float32(value: onnx.ValueInfoProto) -> None:
    kind = value.type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        raise ExportError(
            f"the tensor {value.name} holds {KINDS.get(kind, f'type {kind}')} values, expected float: "
            "export the model with float32 inputs and outputs"
        )


def _names(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Class names from the metadata; None where there are none."""
    found = literal(metadata.get("names"))
    if isinstance(found, (list, tuple)):
        found = dict(enumerate(found))
    if not isinstance(found, dict) or set(found) != set(range(len(found))) or not found:
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
        expected = f"(batch, n, {quarter[0]}, {quarter[1]})"
        raise ExportError(f"the model's second output is {list(protos)}, expected prototypes {expected}")
    return outputs[0], protos


def _head(
    rows: Shape,
    coefficients: int,
    size: tuple[int, int],
    names: tuple[str, ...] | None,
    end2end: bool,
) -> HeadContract:
    """``flat`` or ``end2end``, whichever the shape fits; the metadata's word counts where both do."""
    _, channels, last = rows
    if (ladder := _ladder(last, size)) and channels - 4 - coefficients >= 1:
        return HeadContract(
            kind="flat",
            classes=channels - 4 - coefficients,
            coefficients=coefficients,
            input_size=size,
            strides=ladder,
        )
    if _ladder(channels, size, cells=3) and last - 5 - coefficients >= 1:
        raise ExportError(
            f"the model's output {list(rows)} has three anchors per cell and an objectness, as YOLOv5 and YOLOv7 write "
            "it, and Lineside reads heads without anchors: train a YOLOv8 or newer model on the same data"
        )
    rows_are_anchors = _ladder(channels, size) == LADDERS[0] and last - 4 - coefficients >= 1
    two_classes = names is not None and len(names) == 2  # then rows of either kind are of one width
    if rows_are_anchors and (last != 6 + coefficients or (two_classes and not end2end)):
        raise ExportError(
            f"the model's output {list(rows)} has its anchors in rows, which no present exporter writes: "
            "transpose it, or export best.pt with `lineside export`"
        )
    if last != 6 + coefficients:
        raise ExportError(
            f"the model's output {list(rows)} is neither (batch, 4 + classes + {coefficients}, anchors) for an input of "
            f"{size[0]}x{size[1]} nor (batch, rows, {6 + coefficients}): it is a head that Lineside does not know"
        )
    if names is None:
        raise ExportError(
            f"the model's output {list(rows)} is an end-to-end one without class names: name its classes with --names"
        )
    try:
        return HeadContract(
            kind="end2end",
            classes=len(names),
            coefficients=coefficients,
            input_size=size,
            strides=LADDERS[0],
        )
    except BadOption as error:
        raise ExportError(f"the model's input of {size[0]}x{size[1]} fits no YOLO head: {error}") from error


def _ladder(count: int, size: tuple[int, int], cells: int = 1) -> tuple[int, ...] | None:
    """The strides whose grids have so many anchors, no two alike; ``cells`` is the number of anchors per cell."""
    for strides in LADDERS:
        if any(side % strides[-1] for side in size):
            continue
        if cells * sum((size[0] // stride) * (size[1] // stride) for stride in strides) == count:
            return strides
    return None
