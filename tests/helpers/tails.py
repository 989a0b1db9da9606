"""Flat YOLO graphs with a decode tail, in the ways exporters have written it, and with one thing about it changed."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lineside.runtime.contract import HeadContract

STYLES = ("plain", "early concat", "distances first")
"""As ultralytics writes it today; as it did in its first versions (boxes and classes in one tensor, split afterwards);
and with sizes and centres made from distances directly."""

CHANGES = (
    "bin weights",
    "bins reversed",
    "bins and sides exchanged",
    "softmax over cells",
    "anchor corners",
    "one anchor moved",
    "stride of a level",
    "levels of boxes exchanged",
    "centre not halved",
    "corners",
    "sides exchanged",
    "no sigmoid",
    "sigmoid twice",
    "softmax of classes",
    "scores scaled",
    "classes exchanged",
    "coefficients scaled",
    "coefficients of another level",
    "clipped",
    "picture in the tail",
)
"""What can be different about a tail; not all of them go with every head."""


class Tail:
    """Builds one graph.

    Args:
        head: Contract ``levels`` of the graph without its tail.
        batch: Pictures per run.
        style: One of `STYLES`.
        change: One of `CHANGES`, or nothing.
        seed: Seed of the weights.
    """

    def __init__(
        self, head: HeadContract, batch: int = 1, style: str = "plain", change: str = "", seed: int = 0
    ) -> None:
        self.head, self.batch, self.style, self.change = head, batch, style, change
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def model(self) -> onnx.ModelProto:
        """The graph, with the metadata of an exporter."""
        head = self.head
        heads = [self._head(stride) for stride in head.strides]
        boxes, scores = self._boxes_and_scores(heads)
        parts = [self._decoded(boxes), self._scores(scores)]
        if head.coefficients:
            order = [1, 0, 2] if self.change == "coefficients of another level" else [0, 1, 2]
            rows = self._add("Concat", *(self._rows(heads[i]["mc"], head.coefficients) for i in order), axis=2)
            parts.append(self._scaled(rows, 2.0) if self.change == "coefficients scaled" else rows)
        self._add("Concat", *parts, axis=1, out="output0")
        outputs = {"output0": (self.batch, 4 + head.classes + head.coefficients, head.anchors)}
        if head.coefficients:
            self._conv(self._pooled(4), head.coefficients, out="output1")
            outputs["output1"] = (self.batch, head.coefficients, *head.protos_size)
        graph = helper.make_graph(
            self.nodes,
            "flat",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, (self.batch, 3, *head.input_size))],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        names = {index: f"part{index}" for index in range(head.classes)}
        task = "segment" if head.coefficients else "detect"
        helper.set_model_props(model, {"task": task, "names": repr(names), "stride": "32"})
        onnx.checker.check_model(model, full_check=True)
        return model

    def _constant(self, value: object, kind: type = np.float32) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def _whole(self, *numbers: int) -> str:
        return self._constant(numbers, np.int64)

    def _add(self, op: str, *inputs: str, out: str = "", outputs: int = 1, **attributes: object) -> str:
        out = out or f"t{len(self.nodes)}"
        names = [out, *(f"{out}_{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return out

    def _pooled(self, stride: int) -> str:
        return self._add("AveragePool", "images", kernel_shape=[stride, stride], strides=[stride, stride])

    def _conv(self, x: str, channels: int, out: str = "") -> str:
        weight = self.random.normal(size=(channels, 3, 1, 1)) * 3
        return self._add("Conv", x, self._constant(weight), self._constant(self.random.normal(size=channels)), out=out)

    def _head(self, stride: int) -> dict[str, str]:
        x = self._pooled(stride)
        widths = {"box": 4 * self.head.reg_max, "cls": self.head.classes, "mc": self.head.coefficients}
        return {kind: self._conv(x, width) for kind, width in widths.items() if width}

    def _rows(self, x: str, channels: int) -> str:
        return self._add("Reshape", x, self._whole(self.batch, channels, -1))

    def _scaled(self, x: str, factor: float) -> str:
        return self._add("Mul", x, self._constant(factor))

    def _part(self, x: str, axis: int, start: int, end: int) -> str:
        return self._add("Slice", x, self._whole(start), self._whole(end), self._whole(axis))

    def _boxes_and_scores(self, heads: list[dict[str, str]]) -> tuple[str, str]:
        """Raw boxes ``(batch, 4 * reg_max, anchors)`` and logits ``(batch, classes, anchors)``."""
        width, classes = 4 * self.head.reg_max, self.head.classes
        if self.style == "early concat":
            both = [self._add("Concat", each["box"], each["cls"], axis=1) for each in heads]
            joined = self._add("Concat", *(self._rows(x, width + classes) for x in both), axis=-1)
            sizes = self._whole(width, classes)
            boxes = self._add("Split", joined, sizes, axis=1, outputs=2)
            return boxes, f"{boxes}_1"
        order = [1, 0, 2] if self.change == "levels of boxes exchanged" else [0, 1, 2]
        return (
            self._add("Concat", *(self._rows(heads[i]["box"], width) for i in order), axis=-1),
            self._add("Concat", *(self._rows(each["cls"], classes) for each in heads), axis=-1),
        )

    def _distances(self, boxes: str) -> str:
        """Distances ``(batch, 4, anchors)`` in cells."""
        bins, anchors = self.head.reg_max, self.head.anchors
        if bins == 1:
            return boxes
        if self.change == "bins and sides exchanged":
            x = self._add("Reshape", boxes, self._whole(self.batch, bins, 4, anchors))
        else:
            x = self._add("Reshape", boxes, self._whole(self.batch, 4, bins, anchors))
            x = self._add("Transpose", x, perm=[0, 2, 1, 3])
        x = self._add("Softmax", x, axis=3 if self.change == "softmax over cells" else 1)
        weights = np.arange(bins, dtype=np.float32)
        if self.change == "bin weights":
            weights[3] += 0.01
        if self.change == "bins reversed":
            weights = weights[::-1].copy()
        x = self._add("Conv", x, self._constant(weights.reshape(1, bins, 1, 1)))
        return self._add("Reshape", x, self._whole(self.batch, 4, anchors))

    def _decoded(self, boxes: str) -> str:
        """Boxes ``(batch, 4, anchors)`` as centre and size in input pixels."""
        distances = self._distances(boxes)
        before, after = self._part(distances, 1, 0, 2), self._part(distances, 1, 2, 4)
        if self.change == "sides exchanged":
            before, after = after, before
        points, strides = self._anchors()
        if self.style == "distances first":
            size = self._add("Add", before, after)
            half = self._add("Mul", self._add("Sub", after, before), self._constant(0.5))
            xywh = self._add("Concat", self._add("Add", half, points), size, axis=1)
            return self._add("Mul", xywh, strides)
        low, high = self._add("Sub", points, before), self._add("Add", points, after)
        if self.change == "corners":
            return self._add("Mul", self._add("Concat", low, high, axis=1), strides)
        centre = self._add("Add", low, high)
        if self.change != "centre not halved":
            centre = self._add("Div", centre, self._constant(2.0))
        if self.change == "picture in the tail":
            mean = self._add("ReduceMean", "images", axes=[1, 2, 3], keepdims=0)
            centre = self._add("Add", centre, self._add("Reshape", mean, self._whole(self.batch, 1, 1)))
        xywh = self._add("Mul", self._add("Concat", centre, self._add("Sub", high, low), axis=1), strides)
        if self.change == "clipped":
            xywh = self._add("Clip", xywh, self._constant(0.0), self._constant(float(max(self.head.input_size))))
        return xywh

    def _anchors(self) -> tuple[str, str]:
        offset = 0.0 if self.change == "anchor corners" else 0.5
        points, strides = [], []
        for stride, (height, width) in zip(self.head.strides, self.head.grids, strict=True):
            y, x = np.mgrid[:height, :width].reshape(2, -1) + offset
            points.append(np.stack([x, y]))
            told = stride - 1 if self.change == "stride of a level" and stride == 16 else stride
            strides.append(np.full((1, x.size), told))
        table = np.concatenate(points, 1)[None]
        if self.change == "one anchor moved":
            table[0, 1, self.head.anchors // 2] += 1 / 64
        return self._constant(table), self._constant(np.concatenate(strides, 1))

    def _scores(self, logits: str) -> str:
        if self.change == "no sigmoid":
            return logits
        if self.change == "softmax of classes":
            return self._add("Softmax", logits, axis=1)
        if self.change == "classes exchanged":
            logits = self._add("Gather", logits, self._whole(*range(self.head.classes)[::-1]), axis=1)
        scores = self._add("Sigmoid", logits)
        if self.change == "sigmoid twice":
            scores = self._add("Sigmoid", scores)
        return self._scaled(scores, 0.99) if self.change == "scores scaled" else scores
