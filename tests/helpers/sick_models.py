"""One model for each rule of ``lineside doctor``, with the fault that the rule is there for."""

from __future__ import annotations

import itertools
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from helpers import own_blocks

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


# -- weights ----------------------------------------------------------------------------------------------------------


def missing_blocks(folder: Path, real: Path) -> Sick:
    return Sick(change(folder, "replace:\n  8: [-1, 1, NobodysBlock, [256]]\n"))


def refused_by_safe(folder: Path, real: Path) -> Sick:
    path = own_blocks.checkpoint(folder / "best.pt", "somewhere_else", "EMAttn", own_blocks.ATTENTION, 64)
    return Sick(str(path), options={"safe": True})


class Attack:
    """Runs a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def hostile_pickle(folder: Path, real: Path) -> Sick:
    import torch

    torch.save({"model": Attack(os.system, f"touch {folder / 'mark'}")}, folder / "best.pt")
    return Sick(str(folder / "best.pt"))


def foreign_classes(folder: Path, real: Path) -> Sick:
    import torch
    from torch import nn

    from lineside.export.ultra import load_model

    model = load_model("yolo11n-seg.yaml")
    model.memory = own_module_of_the_tests()
    assert isinstance(model, nn.Module)
    torch.save({"ema": model, "train_args": {"imgsz": 64}}, folder / "best.pt")
    return Sick(str(folder / "best.pt"))


def own_module_of_the_tests() -> Any:
    """An object of a class that can be imported here and is nobody's block."""
    return Sick("nothing")


def unknown_head_named(folder: Path, real: Path) -> Sick:
    return Sick("yoloe-11n-seg.yaml")


def unknown_head(folder: Path, real: Path) -> Sick:
    import torch
    from ultralytics.nn.tasks import PoseModel

    torch.save({"ema": PoseModel("yolo11n-pose.yaml", verbose=False)}, folder / "pose.pt")
    return Sick(str(folder / "pose.pt"), options={"imgsz": (64, 64)})


def prototype_stride(folder: Path, real: Path) -> Sick:
    return Sick(change(folder, "head: [[19, 22], 1, Segment, [nc, 32, 256]]\n"), options={"imgsz": (64, 64)})


def head_refused(folder: Path, real: Path) -> Sick:
    return Sick("yolo11n-seg.yaml", options={"imgsz": (64, 64), "end2end": True})


# -- torch modules ----------------------------------------------------------------------------------------------------


def tied_to_size(folder: Path, real: Path) -> Sick:
    return Sick("yolo11n-seg-rmt.yaml", options={"imgsz": (64, 64), "dynamic": True})


def map_too_large(folder: Path, real: Path) -> Sick:
    return Sick(change(folder, "replace:\n  6: [-1, 2, C2PSA_MaSA, [512]]\n"), options={"imgsz": (1280, 1280)})


def whole_mask(folder: Path, real: Path) -> Sick:
    row = "[-1, 1, C2PSA_MaSA, [512, {e: 0.25, heads: 8}]]"
    return Sick(change(folder, f"insert:\n  4: {row}\n"), options={"imgsz": (256, 256)})


def unrolled_loop(folder: Path, real: Path) -> Sick:
    body = "h = 0\nfor step in range(600):\n    h = 0.9 * h + x\nreturn x + h"
    return with_block(folder, body)


def huge_tensor(folder: Path, real: Path) -> Sick:
    body = "flat = x.flatten(2)\nreturn x + (flat.transpose(1, 2) @ flat).softmax(-1).mean(-1).view_as(x[:, :1])"
    return with_block(folder, body, layer=1, size=640)


def sizes_unknown(folder: Path, real: Path) -> Sick:
    return with_block(folder, "return x + torch.nonzero(x > 9).sum()")


def frozen_numbers(folder: Path, real: Path) -> Sick:
    return with_block(folder, "return x * 2 if x.mean() > 0 else x")


# -- structure --------------------------------------------------------------------------------------------------------


def broken_graph(folder: Path, real: Path) -> Sick:
    return saved(folder, broken()["circle"])


def broken() -> dict[str, ModelProto]:
    """Graphs that no engine loads, each with a fault that could hold up whoever walks through it."""
    node, size = helper.make_node, {"x": (1, 2, 8, 8)}
    call = [node("F", ["x"], ["y"], domain="acme")]
    itself = helper.make_function("acme", "F", ["x"], ["y"], call, [helper.make_opsetid("acme", 1)])
    circle = [node("Reshape", [a, "x"], [b]) for a, b in (("b", "a"), ("a", "b"))]
    circle += [node("CumSum", ["a", "x"], ["s"]), node("Mul", ["a", "x"], ["p"]), node("CumSum", ["p", "x"], ["y"])]
    shapeless = graph([node("Relu", ["x"], ["y"])], size, output=(1, 2, 8, 8))
    shapeless.graph.initializer.add(name="w").dims.extend([-1, 1 << 62])
    kinds = ("Reshape", "BatchNormalization", "Conv", "CumSum", "GridSample", "QuantizeLinear", "DeformConv", "Exp")
    return {
        "circle": graph(circle, size, output=(1,)),
        "itself": graph(call, size, functions=[itself], domains=["acme"], output=(1,)),
        "shapeless": shapeless,
        "nothing in": graph([node(kind, [], [kind]) for kind in kinds], size, output=(1,)),
        "one in": graph([node(kind, ["x"], [kind]) for kind in kinds], size, output=(1,)),
        "nothing out": graph([node("Constant", [], [], value_float=1.0)], size, output=(1,)),
        "strides": graph(
            [node("DeformConv", ["x", "x", "x"], ["y"], strides=[0, 1])], size, opset=19, output=(1, 2, 8, 8)
        ),
        "few strides": graph(
            [node("DeformConv", ["x", "x", "x"], ["y"], strides=[1])], size, opset=19, output=(1, 2, 8, 8)
        ),
    }


# -- versions ---------------------------------------------------------------------------------------------------------


def opset_too_new(folder: Path, real: Path) -> Sick:
    return saved(folder, graph([helper.make_node("Relu", ["x"], ["y"])], {"x": (2, 3)}, opset=99, output=(2, 3)))


def file_format_too_new(folder: Path, real: Path) -> Sick:
    return saved(folder, graph([helper.make_node("Relu", ["x"], ["y"])], {"x": (2, 3)}, ir=99))


def bundle_too_new(folder: Path, real: Path) -> Sick:
    return changed_bundle(folder, real, min_onnxruntime="1.30")


def variant_of_others(folder: Path, real: Path) -> Sick:
    from lineside.runtime.manifest import Variant

    variant = Variant(file="variants/fp16.onnx", precision="fp16", engines=("tensorrt",))
    return changed_bundle(folder, real, variants={"fp16": variant})


def changed_bundle(folder: Path, real: Path, **fields: Any) -> Sick:
    import msgspec

    from lineside.runtime.bundle import open_bundle, write_manifest

    bundle = folder / "changed.bundle"
    shutil.copytree(real, bundle)
    manifest = open_bundle(bundle).manifest
    for variant in fields.get("variants", {}).values():
        (bundle / variant.file).parent.mkdir()
        shutil.copy(bundle / manifest.model, bundle / variant.file)
    write_manifest(bundle, msgspec.structs.replace(manifest, **fields))
    return Sick(str(bundle), "onnxruntime1.23")


def weights_lost(folder: Path, real: Path) -> Sick:
    found = external_data(folder, real)
    (folder / "weights.bin").unlink()
    return found


def external_data(folder: Path, real: Path) -> Sick:
    path = folder / "model.onnx"
    onnx.save(
        add_one(folder),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=False,
    )
    return Sick(str(path))


# -- operators --------------------------------------------------------------------------------------------------------


def no_onnx_form(folder: Path, real: Path) -> Sick:
    return with_block(folder, "return x + torch.special.bessel_j0(x)")


def unknown_operator(folder: Path, real: Path) -> Sick:
    node = helper.make_node("Foo", ["x"], ["y"], domain="acme")
    return saved(folder, graph([node], {"x": (2, 3)}, domains=["acme"], output=(2, 3)))


def function_body(folder: Path, real: Path) -> Sick:
    body = [helper.make_node("Relu", ["x"], ["y"])]
    function = helper.make_function("acme", "Foo", ["x"], ["y"], body, [helper.make_opsetid("", 18)])
    node = helper.make_node("Foo", ["x"], ["y"], domain="acme")
    return saved(folder, graph([node], {"x": (2, 3)}, functions=[function], domains=["acme"], output=(2, 3)))


def one_of_old(domain: str = "acme", kind: str = "Upsample", opset: int = 9) -> FunctionProto:
    """A function of one operator, by default one that opset 10 has done away with."""
    scales = numpy_helper.from_array(np.array([1, 2], np.float32))
    nodes = {
        "Upsample": [
            helper.make_node("Constant", [], ["s"], value=scales),
            helper.make_node("Upsample", ["x", "s"], ["y"], mode="nearest"),
        ],
        "ReduceSum": [helper.make_node("ReduceSum", ["x"], ["y"], axes=[1])],
    }.get(kind, [helper.make_node(kind, ["x"], ["y"])])
    return helper.make_function(domain, "Foo", ["x"], ["y"], nodes, [helper.make_opsetid("", opset)])


def function_opset(folder: Path, real: Path) -> Sick:
    node = helper.make_node("Foo", ["x"], ["y"], domain="acme")
    return saved(folder, graph([node], {"x": (2, 3)}, functions=[one_of_old()], domains=["acme"], output=(2, 6)))


def no_kernel(folder: Path, real: Path) -> Sick:
    weight = np.ones((2, 3, 3, 3), np.float64)
    return saved(
        folder, graph([helper.make_node("Conv", ["x", "w"], ["y"])], {"x": (1, 3, 8, 8)}, {"w": weight}, kind=F64)
    )


def deform(offset: int, opset: int = 19) -> ModelProto:
    """A deformable convolution of stride 2 with a map of offsets of some size; 4 fits."""
    node = helper.make_node(
        "DeformConv", ["x", "w", "o"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]
    )
    return graph(
        [node], {"x": (1, 2, 8, 8), "o": (1, 18, offset, offset)}, {"w": np.ones((2, 2, 3, 3), np.float32)},
        opset=opset, output=(1, 2, 4, 4),
    )  # fmt: skip


def native_deform(folder: Path, real: Path) -> Sick:
    return saved(folder, deform(4), "onnxruntime1.23")


def custom_op(folder: Path, real: Path) -> Sick:
    return Sick("yolo11n-seg-dcn.yaml", options={"imgsz": (64, 64)})


def standard_body(folder: Path, real: Path) -> Sick:
    node = helper.make_node("CastLike", ["x", "k"], ["y"])
    return saved(folder, graph([node], {"x": (2, 3)}, {"k": np.ones(1, np.float32)}))


def uncropped_offsets(folder: Path, real: Path) -> Sick:
    return saved(folder, deform(8))


def volumes() -> ModelProto:
    node = helper.make_node("GridSample", ["x", "g"], ["y"], mode="linear")
    return graph([node], {"x": (1, 2, 4, 4, 4), "g": (1, 3, 3, 3, 3)}, opset=20, ir=9)


def volume_sampling(folder: Path, real: Path) -> Sick:
    return saved(folder, volumes())


def fold_of_patches(folder: Path, real: Path) -> Sick:
    from torch import nn

    return traced(folder, nn.Sequential(nn.Unfold(3, padding=1), nn.Fold((8, 8), 3, padding=1)), (1, 2, 8, 8))


def free_outputs(folder: Path, real: Path) -> Sick:
    return saved(folder, graph([helper.make_node("Compress", ["x", "c"], ["y"], axis=0)],
                               {"x": (4, 3)}, {"c": np.array([1, 0, 1, 0], bool)}, output=("rows", 3)))  # fmt: skip


def random_numbers(folder: Path, real: Path) -> Sick:
    nodes = [helper.make_node("RandomUniformLike", ["x"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])]
    return saved(folder, graph(nodes, {"x": (2, 3)}))


def embedded_nms(folder: Path, real: Path) -> Sick:
    nodes = [
        helper.make_node("Transpose", ["x"], ["s"], perm=[0, 2, 1]),
        helper.make_node("NonMaxSuppression", ["x", "s", "k"], ["n"]),
        helper.make_node("Shape", ["n"], ["c"]),
        helper.make_node("Cast", ["c"], ["y"], to=F32),
    ]
    return saved(folder, graph(nodes, {"x": (1, 4, 4)}, {"k": np.array([2], np.int64)}, output=(2,)))


# -- scans ------------------------------------------------------------------------------------------------------------


def unrolled_scan(folder: Path, real: Path) -> Sick:
    import torch
    from torch import nn

    class Scan(nn.Module):
        """A recurrence over the columns, step by step."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            state, states = torch.zeros_like(x[..., 0]), []
            for step in range(x.shape[-1]):
                state = torch.sigmoid(x[..., step]) * state + x[..., step]
                states.append(state)
            return torch.stack(states, -1)

    return traced(folder, Scan(), (1, 4, 80))


def overflowing_scan(folder: Path, real: Path) -> Sick:
    import torch
    from torch import nn

    class Scan(nn.Module):
        """The same recurrence by running sums; right as long as exp(-S) is finite."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            total = torch.cumsum(-40 * torch.nn.functional.softplus(x), -1)
            return torch.exp(total) * torch.cumsum(x * torch.exp(-total), -1)

    return traced(folder, Scan(), (1, 4, 64))


def many_nodes(folder: Path, real: Path) -> Sick:
    names = ["x", *(f"t{index}" for index in range(4500)), "y"]
    nodes = [helper.make_node("Relu", [a], [b]) for a, b in itertools.pairwise(names)]
    return saved(folder, graph(nodes, {"x": (2, 3)}))


# -- precision --------------------------------------------------------------------------------------------------------


def half_arithmetic(folder: Path, real: Path) -> Sick:
    weight = np.ones((2, 3, 3, 3), np.float16)
    return saved(
        folder, graph([helper.make_node("Conv", ["x", "w"], ["y"])], {"x": (1, 3, 8, 8)}, {"w": weight}, kind=F16)
    )


def signed_activations(folder: Path, real: Path) -> Sick:
    return saved(folder, quantised(np.int8))


def quantised(kind: type) -> ModelProto:
    """A convolution with quantised activations of that type."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["y"]),
    ]
    constants = {
        "s": np.array(0.1, np.float32),
        "z": np.array(0, kind),
        "w": np.ones((2, 3, 3, 3), np.float32),
    }
    return graph(nodes, {"x": (1, 3, 8, 8)}, constants)


# -- forms ------------------------------------------------------------------------------------------------------------


def invalid_transpose(folder: Path, real: Path) -> Sick:
    from torch import nn

    class Moved(nn.Module):
        """What the seeds' FastKAN does with its basis."""

        def forward(self, x: Any) -> Any:
            return x.moveaxis(-1, 2)

    return traced(folder, Moved(), (1, 2, 3, 4))


def folded_mask(folder: Path, real: Path) -> Sick:
    mask = np.zeros((1, 2100, 2100), np.float32)
    return saved(folder, graph([helper.make_node("Add", ["x", "m"], ["y"])], {"x": (1, 2100, 2100)}, {"m": mask}))


def training_form(folder: Path, real: Path) -> Sick:
    from lineside.export.modules.unireplknet import DilatedReparamBlock

    return traced(folder, DilatedReparamBlock(8, 7), (1, 8, 16, 16))


def norm(mode: int) -> ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node(
            "BatchNormalization", ["c", "g", "b", "m", "v"], ["y", *(["rm", "rv"] if mode else [])],
            training_mode=mode,
        ),
    ]  # fmt: skip
    ones = {name: np.ones(2, np.float32) for name in "gbmv"}
    return graph(nodes, {"x": (1, 3, 8, 8)}, {"w": np.ones((2, 3, 3, 3), np.float32), **ones})


def training_mode(folder: Path, real: Path) -> Sick:
    return saved(folder, norm(1))


def unfused_normalisation(folder: Path, real: Path) -> Sick:
    return saved(folder, norm(0))


SICK: dict[str, Callable[[Path, Path], Sick]] = {
    name.replace("_", "-"): function
    for name, function in list(globals().items())
    if callable(function) and getattr(function, "__annotations__", {}).get("return") == "Sick"
    and list(getattr(function, "__annotations__", {})) == ["folder", "real", "return"]
}  # fmt: skip
"""A model for each rule, by its id; gets a folder to write into and the path of a real bundle."""
