"""How a sick model is made: a graph, a traced module, a yaml with a block of the user's own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

F32, F64, F16 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16


@dataclass(frozen=True)
class Sick:
    """A model, and how to ask for it: path or name, target, options of `examine`."""

    model: str
    target: str = "onnxruntime"
    options: dict[str, Any] = field(default_factory=dict)


def graph(
    nodes: Sequence[NodeProto],
    inputs: dict[str, Sequence[Any]],
    constants: dict[str, np.ndarray] | None = None,
    *,
    kind: int = F32,
    opset: int = 18,
    ir: int = 8,
    functions: Sequence[FunctionProto] = (),
    domains: Sequence[str] = (),
    output: Sequence[Any] | None = (),
) -> ModelProto:
    """An ONNX model with one output ``y``; its shape is left to be inferred unless it is given."""
    value = helper.make_tensor_value_info("y", kind, output or None)
    made = helper.make_model(
        helper.make_graph(
            list(nodes),
            "g",
            [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
            [value],
            [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)],
        functions=list(functions),
        ir_version=ir,
    )
    return onnx.shape_inference.infer_shapes(made) if output == () else made


def saved(folder: Path, model: ModelProto, target: str = "onnxruntime") -> Sick:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return Sick(str(path), target)


def traced(folder: Path, module: Any, shape: Sequence[int], opset: int = 18) -> Sick:
    """A torch module as its TorchScript exporter writes it down."""
    import torch

    path = folder / "model.onnx"
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), (torch.rand(*shape),), str(path), opset_version=opset, dynamo=False, input_names=["x"]
        )
    return Sick(str(path))


def change(folder: Path, text: str, name: str = "yolo11n-sick-seg.yaml") -> str:
    """A model yaml of the user's own that changes yolo11-seg."""
    path = folder / name
    path.write_text("base: yolo11-seg.yaml\n" + text)
    return str(path)


def block(folder: Path, body: str) -> dict[str, Any]:
    """A file with the block ``Sick``, whose forward has this body; as options of `examine`."""
    path = folder / "sick_block.py"
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    path.write_text(
        f"import torch\nfrom torch import nn\n\n\nclass Sick(nn.Module):\n    def forward(self, x):\n{lines}\n"
    )
    return {"modules": [str(path)]}


def with_block(folder: Path, body: str, layer: int = 8, size: int = 64) -> Sick:
    """yolo11n-seg with a block behind a layer."""
    return Sick(
        change(folder, f"insert:\n  {layer}: [-1, 1, Sick, []]\n"),
        options={"imgsz": (size, size), **block(folder, body)},
    )


def add_one(folder: Path) -> ModelProto:
    return graph([helper.make_node("Add", ["x", "one"], ["y"])], {"x": (2, 3)}, {"one": np.ones(3, np.float32)})
