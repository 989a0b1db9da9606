"""A real bundle of a real ONNX model, small enough to be made in a fraction of a second.

The model looks at brightness: a grid cell whose mean over the picture is bright gets a positive logit, its box reaches
one and a half cells to each side, and its mask is where the picture is bright. Class 0 answers to red, class 1 to
green, class 2 to blue, and so on round.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lineside.runtime.bundle import write_manifest
from lineside.runtime.contract import HeadContract, HeadKind, InputContract
from lineside.runtime.manifest import Manifest, Provenance

REACH = 1.5
"""Distance from an anchor to each side of its box, in cells."""
REG_MAX = 16
GAIN = 12.0
"""Logits per unit of brightness; a cell of brightness 0.6 has the logit 0."""


class _Graph:
    """Collects nodes and initialisers."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, value: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def add(self, op: str, *inputs: str, out: str | None = None, outputs: int = 1, **attributes) -> str:
        out = out or f"t{len(self.nodes)}"
        names = [out, *(f"{out}_{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"n{len(self.nodes)}", **attributes))
        return out

    def conv(self, x: str, weight: np.ndarray, bias: np.ndarray, out: str | None = None) -> str:
        """A 1x1 convolution from the three colours."""
        weight = np.ascontiguousarray(weight, np.float32)[..., None, None]
        return self.add("Conv", x, self.constant(weight), self.constant(bias.astype(np.float32)), out=out)


def tiny_bundle(
    folder: str | Path,
    kind: HeadKind = "levels",
    size: tuple[int, int] = (64, 64),
    classes: int = 2,
    coefficients: int = 8,
    batch: int = 1,
    focus: int = 0,
) -> Path:
    """Writes the bundle.

    Args:
        folder: Where; made if it is not there.
        kind: Head contract.
        size: Height and width of the input, multiples of 32.
        classes: Number of classes.
        coefficients: Mask coefficients; 0 makes a detection model.
        batch: Pictures per run.
        focus: Stride of the focus map; 0 makes none.

    Returns:
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    head = HeadContract(
        kind=kind, classes=classes, coefficients=coefficients, input_size=size, reg_max=REG_MAX, focus=focus
    )
    onnx.save(tiny_model(head, batch), folder / "model.onnx")
    manifest = Manifest(
        name=f"tiny {kind}",
        task="segment" if coefficients else "detect",
        names=tuple(f"part{i}" for i in range(classes)),
        input=InputContract(name="images", size=size, batch=batch),
        head=head,
        opset=17,
        min_onnxruntime="1.17",
        provenance=Provenance(model="tiny", licence="Apache-2.0", tools={"onnx": onnx.__version__}),
    )
    write_manifest(folder, manifest)
    return folder


def tiny_model(head: HeadContract, batch: int = 1) -> onnx.ModelProto:
    """The ONNX model for a head contract."""
    g = _Graph()
    levels = [_level(g, head, stride) for stride in head.strides]
    if head.kind == "flat":
        _flat(g, head, levels, batch, "output0")
    elif head.kind == "end2end":
        _end2end(g, head, _flat(g, head, levels, batch, "flat"), batch)
    if head.coefficients:
        _protos(g, head)
    if head.focus:
        _focus(g, head)
    shapes = output_shapes(head, batch)
    graph = helper.make_graph(
        g.nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (batch, 3, *head.input_size))],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shapes[n]) for n in head.output_names],
        g.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def output_shapes(head: HeadContract, batch: int) -> dict[str, tuple[int, ...]]:
    """Shape of every output, by name."""
    widths = {"box": 4 * head.reg_max, "cls": head.classes, "mc": head.coefficients}
    shapes: dict[str, tuple[int, ...]] = {
        f"{kind}{stride}": (batch, width, *grid)
        for stride, grid in zip(head.strides, head.grids, strict=True)
        for kind, width in widths.items()
    }
    shapes["output0"] = (batch, 4 + head.classes + head.coefficients, head.anchors)
    if head.kind == "end2end":
        shapes["output0"] = (batch, _kept(head), 6 + head.coefficients)
    shapes["protos"] = (batch, head.coefficients, *head.protos_size)
    if head.focus:
        shapes["focus"] = (batch, 1, head.input_size[0] // head.focus, head.input_size[1] // head.focus)
    return shapes


def _kept(head: HeadContract) -> int:
    return min(20, head.anchors)


def _level(g: _Graph, head: HeadContract, stride: int) -> dict[str, str]:
    """Raw head tensors of one level: box distribution, class logits, mask coefficients."""
    raw = head.kind == "levels"
    mean = g.add("AveragePool", "images", kernel_shape=[stride, stride], strides=[stride, stride])
    colours = np.full((head.classes, 3), 0.2)
    colours[np.arange(head.classes), np.arange(head.classes) % 3] = 0.6
    out = {"cls": g.conv(mean, GAIN * colours, np.full(head.classes, -0.6 * GAIN), f"cls{stride}" if raw else None)}
    if raw:
        bias = np.full((4, head.reg_max), -30.0)
        bias[:, [1, 2]] = 30.0  # half on bin 1, half on bin 2: a distance of 1.5 cells
        out["box"] = g.conv(mean, np.zeros((4 * head.reg_max, 3)), bias.reshape(-1), f"box{stride}")
    if head.coefficients:
        bias = np.zeros(head.coefficients)
        bias[0] = 1.0
        out["mc"] = g.conv(mean, np.zeros((head.coefficients, 3)), bias, f"mc{stride}" if raw else None)
    return out


def _protos(g: _Graph, head: HeadContract) -> None:
    """Prototype 0 is brightness above one half; the others vary, with coefficient 0."""
    mean = g.add("AveragePool", "images", kernel_shape=[4, 4], strides=[4, 4])
    weight = np.random.default_rng(0).normal(size=(head.coefficients, 3))
    weight[0] = 4 / 3
    bias = np.zeros(head.coefficients)
    bias[0] = -2.0
    g.conv(mean, weight, bias, "protos")


def _focus(g: _Graph, head: HeadContract) -> None:
    """A cell is in focus where it is blue."""
    mean = g.add("AveragePool", "images", kernel_shape=[head.focus] * 2, strides=[head.focus] * 2)
    g.conv(mean, np.array([[0.0, 0.0, GAIN]]), np.array([-GAIN / 2]), "focus")


def _flat(g: _Graph, head: HeadContract, levels: list[dict[str, str]], batch: int, out: str) -> str:
    """The decode tail inside the graph: xywh in input pixels, probabilities, coefficients."""
    parts = []
    for level, stride, (rows, columns) in zip(levels, head.strides, head.grids, strict=True):
        y, x = np.mgrid[:rows, :columns].reshape(2, -1) + 0.5
        side = np.full(x.shape, 2 * REACH)
        xywh = np.stack([x, y, side, side]).astype(np.float32) * stride
        tensors = [g.constant(np.repeat(xywh[None], batch, 0)), _rows(g, g.add("Sigmoid", level["cls"]))]
        if head.coefficients:
            tensors.append(_rows(g, level["mc"]))
        parts.append(g.add("Concat", *tensors, axis=1))
    return g.add("Concat", *parts, axis=2, out=out)


def _rows(g: _Graph, x: str) -> str:
    """(batch, channels, h, w) to (batch, channels, h*w)."""
    return g.add("Reshape", x, g.constant(np.array([0, 0, -1], np.int64)))


def _end2end(g: _Graph, head: HeadContract, flat: str, batch: int) -> None:
    """The best rows: xyxy in input pixels, score, class, coefficients."""
    rows = g.add("Transpose", flat, perm=[0, 2, 1])
    cuts = np.cumsum([0, 2, 2, head.classes, head.coefficients])

    def part(i: int) -> str:
        bounds = (np.array([v], np.int64) for v in (cuts[i], cuts[i + 1], 2))
        return g.add("Slice", rows, *(g.constant(v) for v in bounds))

    centre, half = part(0), g.add("Mul", part(1), g.constant(np.float32(0.5)))
    scores = part(2)
    best = g.add("ReduceMax", scores, axes=[2], keepdims=1)
    kind = g.add("Cast", g.add("ArgMax", scores, axis=2, keepdims=1), to=TensorProto.FLOAT)
    columns = [g.add("Sub", centre, half), g.add("Add", centre, half), best, kind]
    if head.coefficients:
        columns.append(part(3))
    table = g.add("Concat", *columns, axis=2)
    top = g.add("TopK", best, g.constant(np.array([_kept(head)], np.int64)), axis=1, outputs=2)
    width = np.array([batch, _kept(head), 6 + head.coefficients], np.int64)
    g.add("GatherElements", table, g.add("Expand", f"{top}_1", g.constant(width)), axis=1, out="output0")
