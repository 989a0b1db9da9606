"""Gives a foreign graph with dynamic shapes the one input size that a bundle runs at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from lineside.export.graph.finish import tensor_shapes
from lineside.export.literals import literal
from lineside.export.parity.plain_onnx import plain_session
from lineside.runtime.errors import BadOption, EngineFailed, ExportError

__all__ = ["pinned", "simplified"]


def pinned(
    model: onnx.ModelProto, metadata: Mapping[str, str], imgsz: tuple[int, int] | None, batch: int | None
) -> list[str]:
    """Fixes the shapes of a model, in place, where they are not fixed.

    Args:
        model: A foreign model.
        metadata: What its exporter left in the file; ``imgsz`` is read.
        imgsz: Height and width to fix; None for those of the metadata.
        batch: Pictures per run; None for 1.

    Returns:
        What was done, one clause each; nothing for a model with fixed shapes.

    Raises:
        ExportError: The size is not known, or the graph does not run at it.
        BadOption: A size was asked for that is not the one the model was exported with.
    """
    inputs = _inputs(model)
    if not _is_dynamic(model) or len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        _check_fixed(inputs, imgsz, batch)
        return []
    dims = inputs[0].type.tensor_type.shape.dim
    sides = imgsz or _size(metadata)
    for dim, wanted, option in zip(
        dims, (batch or 1, 3, *(sides or (0, 0))), ("batch", "", "imgsz", "imgsz"), strict=True
    ):
        if dim.dim_value > 0:
            if option and (batch if option == "batch" else imgsz) and dim.dim_value != wanted:
                raise BadOption(f"--{option} asks for {wanted}, and the model was exported for {dim.dim_value}")
            continue
        if wanted < 1:
            raise ExportError(
                "the model has dynamic shapes and its metadata does not say its input size: "
                "give the size it was trained at with --imgsz"
            )
        dim.Clear()
        dim.dim_value = wanted
    del model.graph.value_info[:]
    shape = tuple(dim.dim_value for dim in dims)
    _measure_outputs(model, inputs[0], shape)
    return [f"its shapes are dynamic and are fixed to an input of {list(shape)}"]


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with everything computed that only shapes need; as it was where onnxslim fails on it."""
    import onnxslim

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        slim: onnx.ModelProto = onnxslim.slim(copy)
    except Exception:  # a foreign graph: whatever stops onnxslim, the graph still runs
        return model
    borders = [tensor_shapes((*each.graph.input, *each.graph.output)) for each in (model, slim)]
    return slim if borders[0] == borders[1] else model


def _is_dynamic(model: onnx.ModelProto) -> bool:
    """A side of an input or output of the graph is not a number."""
    values = (*_inputs(model), *model.graph.output)
    return any(not isinstance(side, int) for shape in tensor_shapes(values).values() for side in shape)


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _check_fixed(inputs: list[onnx.ValueInfoProto], imgsz: tuple[int, int] | None, batch: int | None) -> None:
    """A size that is asked for is the one the model has."""
    if len(inputs) != 1 or (imgsz is None and batch is None):
        return
    shape = next(iter(tensor_shapes(inputs).values()))
    if imgsz is not None and shape[2:] != imgsz:
        raise BadOption(
            f"--imgsz asks for {imgsz[0]}x{imgsz[1]}, and the model has the fixed input {list(shape)}: "
            "export it again at that size, or with dynamic=True"
        )
    if batch is not None and shape[:1] != (batch,):
        raise BadOption(
            f"--batch asks for {batch}, and the model has the fixed input {list(shape)}: export it again with that batch"
        )


def _size(metadata: Mapping[str, str]) -> tuple[int, int] | None:
    """Height and width that the metadata names."""
    found = literal(metadata.get("imgsz"))
    sides = [found, found] if isinstance(found, int) else found
    if (
        isinstance(sides, (list, tuple))
        and len(sides) == 2
        and all(isinstance(side, int) and side > 0 for side in sides)
    ):
        return int(sides[0]), int(sides[1])
    return None


def _measure_outputs(model: onnx.ModelProto, value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    """Writes down the shapes that the outputs have when the graph runs."""
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    session = plain_session(model.SerializeToString(), optimise=False)
    try:
        found = session.run(None, {value.name: np.zeros(shape, np.float32)})
    except Exception as error:  # onnxruntime has a dozen exception types without a common base
        reason = str(error).strip().partition("\n")[0]
        raise EngineFailed(
            f"onnxruntime cannot run the model with an input of {list(shape)} ({reason}): give the size it was trained "
            "at with --imgsz"
        ) from error
    for output, array in zip(model.graph.output, found, strict=True):
        for side in array.shape:
            output.type.tensor_type.shape.dim.add().dim_value = side
