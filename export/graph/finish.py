"""The last pass of an export: shapes checked against the contract, versions fixed, who made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version

import onnx

from lineside.export.graph.passes import Condition, GraphPass

__all__ = ["IR_VERSION", "MAX_OPSET", "Sides", "finish", "tensor_shapes"]

Sides = tuple[int | str, ...]
"""Shape of a tensor in a graph; a symbol where a side is free."""

IR_VERSION = 8
"""What ONNX 1.13 wrote; onnxruntime 1.17, the oldest that a bundle may name, reads up to 9."""

MAX_OPSET = 20


def tensor_shapes(values: Sequence[onnx.ValueInfoProto]) -> dict[str, Sides]:
    """Shapes of graph inputs or outputs by name; a symbol where a side is dynamic."""
    return {
        value.name: tuple(
            side.dim_value if side.HasField("dim_value") else side.dim_param or "?"
            for side in value.type.tensor_type.shape.dim
        )
        for value in values
    }


def finish(input_shape: Sides, outputs: Mapping[str, Sides], metadata: Mapping[str, str]) -> GraphPass:
    """The closing pass of an export.

    Args:
        input_shape: Shape that the one input must have.
        outputs: Names and shapes that the outputs must have, in order; free sides get these symbols.
        metadata: What to leave in the file about itself, for tools that read only the ONNX.

    Returns:
        A pass that checks the model with onnx and sets its versions and metadata.
    """

    def apply(model: onnx.ModelProto) -> onnx.ModelProto:
        model.ir_version = IR_VERSION
        model.producer_name, model.producer_version = "lineside", version("lineside")
        model.doc_string = model.graph.doc_string = ""
        model.graph.name = "lineside"
        del model.metadata_props[:]
        for key, value in metadata.items():
            model.metadata_props.add(key=key, value=value)
        for node in model.graph.node:
            node.doc_string = ""
        for value in model.graph.output:
            _name_free_sides(value, outputs.get(value.name, ()))
        del model.graph.value_info[:]  # every engine infers them anew
        onnx.checker.check_model(model, full_check=True)
        return model

    return GraphPass("finish", apply, requires=_old_enough, ensures=_has(input_shape, outputs))


def _name_free_sides(value: onnx.ValueInfoProto, wanted: Sides) -> None:
    """Gives the free sides of an output their symbols; a side that is fixed stays so, and is found out."""
    for side, name in zip(value.type.tensor_type.shape.dim, wanted, strict=False):
        if isinstance(name, str) and not side.HasField("dim_value"):
            side.dim_param = name


def _old_enough(model: onnx.ModelProto) -> str | None:
    """The opset is one that every engine of ours reads."""
    opset = {entry.domain: entry.version for entry in model.opset_import}.get("", 0)
    return f"opset {opset} is newer than {MAX_OPSET}" if opset > MAX_OPSET else None


def _has(input_shape: Sides, outputs: Mapping[str, Sides]) -> Condition:
    """The graph has this input and these outputs, free where they are free and nowhere else."""

    def check(model: onnx.ModelProto) -> str | None:
        inputs = list(tensor_shapes(model.graph.input).values())
        if inputs != [tuple(input_shape)]:
            return f"its inputs are {inputs}, expected {[tuple(input_shape)]}"
        found = tensor_shapes(model.graph.output)
        if list(found.items()) != [(name, tuple(shape)) for name, shape in outputs.items()]:
            return f"its outputs are {found}, expected {dict(outputs)}"
        return None

    return check
