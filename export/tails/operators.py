"""What each ONNX operator that a decode tail may hold does to linear expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lineside.export.tails.linear import (
    BIN,
    DISTANCE,
    RAW,
    SIGMOID,
    Constant,
    Linear,
    UnknownTail,
    added,
    atoms_of,
    atoms_only,
    joined,
    moved,
    scaled,
)

__all__ = ["OPERATORS", "HeadTensors", "Value"]

Value = Linear | Constant
Attributes = Mapping[str, Any]
Atoms = npt.NDArray[np.int64]


@dataclass
class HeadTensors:
    """Numbers the elements of the head tensors, in the order in which they are met.

    Attributes:
        names: Names of the tensors.
        shapes: Their shapes ``(batch, channels, h, w)``.
        offsets: Number of the first element of each.
        bins: Length of the box distributions; None until a softmax was met.
    """

    names: list[str] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    bins: int | None = None

    def add(self, name: str, shape: tuple[int, ...]) -> Linear:
        """Takes a tensor in and gives its elements as atoms."""
        start = self.offsets[-1] + int(np.prod(self.shapes[-1])) if self.names else 0
        self.names.append(name)
        self.shapes.append(shape)
        self.offsets.append(start)
        return atoms_of(self.elements(len(self.names) - 1) + RAW)

    def elements(self, index: int) -> Atoms:
        """Numbers of the elements of a tensor, in its shape."""
        shape = self.shapes[index]
        return self.offsets[index] + np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)

    def owner(self, elements: Atoms) -> Atoms:
        """Index of the tensor that each element belongs to."""
        return np.asarray(np.searchsorted(self.offsets, elements, side="right") - 1, np.int64)

    def are_distributions(self, elements: Atoms) -> bool:
        """The last axis runs over channels ``k*n .. k*n + n - 1`` of one cell, where n is its length."""
        length = elements.shape[-1]
        first = elements[..., 0]
        owner = self.owner(first)
        cells = np.array([shape[2] * shape[3] for shape in self.shapes])[owner]
        channels = np.array([shape[1] for shape in self.shapes])[owner]
        channel = (first - np.array(self.offsets)[owner]) // cells % channels
        steps = first[..., None] + np.arange(length) * cells[..., None]
        whole = (channel % length == 0) & (channel + length <= channels)
        return bool(np.array_equal(steps, elements) and whole.all())


Operator = Callable[[Sequence[Value | None], Attributes, HeadTensors], list[Value]]


def _variable(value: Value | None) -> Linear:
    if not isinstance(value, Linear):
        raise UnknownTail("an operator takes its tensors in an unknown order")
    return value


def _integers(value: Value | None) -> list[int]:
    if not isinstance(value, np.ndarray):
        raise UnknownTail("a size or an index depends on the picture")
    return [int(number) for number in value.ravel()]


def _axis(attributes: Attributes, value: Linear, default: int) -> int:
    return int(attributes.get("axis", default)) % max(1, len(value.shape))


def _reshape(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    value = _variable(inputs[0])
    wanted = _integers(inputs[1])
    if not attributes.get("allowzero", 0):
        wanted = [value.shape[i] if side == 0 else side for i, side in enumerate(wanted)]
    return [moved(value, lambda array: array.reshape(wanted))]


def _transpose(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    order = attributes.get("perm")
    return [moved(_variable(inputs[0]), lambda array: array.transpose(order))]


def _flatten(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    value = _variable(inputs[0])
    axis = int(attributes.get("axis", 1))  # may be behind the last one
    rows = int(np.prod(value.shape[: axis if axis >= 0 else axis + len(value.shape)], dtype=np.int64))
    return [moved(value, lambda array: array.reshape(rows, -1))]


def _axes(inputs: Sequence[Value | None], attributes: Attributes) -> tuple[int, ...]:
    """Axes of a squeeze or unsqueeze: an input since opset 13, an attribute before."""
    if len(inputs) > 1 and inputs[1] is not None:
        return tuple(_integers(inputs[1]))
    return tuple(attributes.get("axes", ()))


def _squeeze(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    axes = _axes(inputs, attributes) or None
    return [moved(_variable(inputs[0]), lambda array: array.squeeze(axes))]


def _unsqueeze(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    axes = _axes(inputs, attributes)
    return [moved(_variable(inputs[0]), lambda array: np.expand_dims(array, axes))]


def _slice(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    value = _variable(inputs[0])
    if len(inputs) > 1:  # inputs since opset 10, attributes before
        starts, ends = _integers(inputs[1]), _integers(inputs[2])
        axes = _integers(inputs[3]) if len(inputs) > 3 and inputs[3] is not None else list(range(len(starts)))
        steps = _integers(inputs[4]) if len(inputs) > 4 and inputs[4] is not None else [1] * len(starts)
    else:
        starts, ends = list(attributes["starts"]), list(attributes["ends"])
        axes, steps = list(attributes.get("axes", range(len(starts)))), [1] * len(starts)
    if min(steps) < 1:
        raise UnknownTail("it turns a tensor round")
    window = [slice(None)] * len(value.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        window[axis] = slice(start, end, step)
    return [moved(value, lambda array: array[tuple(window)])]


def _split(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    value = _variable(inputs[0])
    axis = _axis(attributes, value, 0)
    if len(inputs) > 1 and inputs[1] is not None:
        sizes = _integers(inputs[1])
    elif "split" in attributes:
        sizes = list(attributes["split"])
    else:
        count, length = int(attributes["outputs"]), value.shape[axis]
        step = -(-length // count)
        sizes = [min(step, length - start) for start in range(0, step * count, step)]  # the last may be shorter
    if sum(sizes) != value.shape[axis] or min(sizes) < 1:
        raise UnknownTail("it splits a tensor into parts that do not fit")
    ends = np.cumsum(sizes)
    return [
        moved(value, lambda array, first=end - size, last=end: np.take(array, range(first, last), axis))  # type: ignore[misc]
        for size, end in zip(sizes, ends, strict=True)
    ]


def _gather(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    value, indices = _variable(inputs[0]), inputs[1]
    if not isinstance(indices, np.ndarray):
        raise UnknownTail("it picks elements by an index that depends on the picture")
    picked = indices.astype(np.int64)
    axis = _axis(attributes, value, 0)
    return [moved(value, lambda array: np.take(array, picked, axis))]


def _concat(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    return [joined([value for value in inputs if value is not None], int(attributes["axis"]))]


def _expand(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    value = _variable(inputs[0])
    shape = np.broadcast_shapes(value.shape, tuple(_integers(inputs[1])))
    return [moved(value, lambda array: np.broadcast_to(array, shape))]


def _same(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    return [_variable(inputs[0])]


def _cast(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    if attributes["to"] not in (1, 10, 11):  # float, float16, double: rounding apart, the same numbers
        raise UnknownTail("it turns numbers into whole ones")
    return [_variable(inputs[0])]


def _shape(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    shape = _variable(inputs[0]).shape
    return [np.array(shape[attributes.get("start", 0) : attributes.get("end", len(shape))], np.int64)]


def _add(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    left, right = (value for value in inputs if value is not None)
    return [added(left, right)]


def _sub(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    left, right = (value for value in inputs if value is not None)
    minus = scaled(right, np.array(-1.0)) if isinstance(right, Linear) else -np.asarray(right, np.float64)
    return [added(left, minus)]


def _mul(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    left, right = inputs
    if isinstance(left, Linear) and isinstance(right, np.ndarray):
        return [scaled(left, right)]
    if isinstance(right, Linear) and isinstance(left, np.ndarray):
        return [scaled(right, left)]
    raise UnknownTail("it multiplies two tensors that depend on the picture")


def _div(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    left, right = inputs
    if not isinstance(left, Linear) or not isinstance(right, np.ndarray) or not np.asarray(right, np.float64).all():
        raise UnknownTail("it divides by something that depends on the picture, or by zero")
    return [scaled(left, 1 / np.asarray(right, np.float64))]


def _sigmoid(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    elements = atoms_only(_variable(inputs[0]), RAW)
    if elements is None:
        raise UnknownTail("it takes the sigmoid of something other than outputs of the head")
    return [atoms_of(elements + SIGMOID)]


def _softmax(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    value = _variable(inputs[0])
    elements = atoms_only(value, RAW)
    before_13 = attributes["opset"] < 13  # then everything from that axis on is one distribution
    axis = _axis(attributes, value, 1 if before_13 else -1)
    if before_13 and axis != len(value.shape) - 1:
        raise UnknownTail("it has a softmax of before opset 13 over several axes at once")
    length = value.shape[axis]
    if elements is None or not tensors.are_distributions(np.moveaxis(elements, axis, -1)):
        raise UnknownTail("it has a softmax over something other than box distributions")
    if tensors.bins not in (None, length):
        raise UnknownTail("its box distributions differ in length")
    tensors.bins = length
    return [atoms_of(elements + BIN)]


def _conv(inputs: Sequence[Value | None], attributes: Attributes, tensors: HeadTensors) -> list[Value]:
    """The mean of box distributions, written as a 1x1 convolution with the weights 0, 1, 2, ..."""
    value, weights = _variable(inputs[0]), inputs[1]
    bins = tensors.bins or 0
    plain = all(attributes.get(name, [1, 1]) == [1, 1] for name in ("kernel_shape", "strides", "dilations"))
    padded = any(attributes.get("pads", ())) or attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    bias = inputs[2] if len(inputs) > 2 else None
    elements = atoms_only(value, BIN)
    if (
        elements is None
        or not plain
        or padded
        or attributes.get("group", 1) != 1
        or (bias is not None and (isinstance(bias, Linear) or bool(np.any(bias))))
        or not isinstance(weights, np.ndarray)
        or weights.shape != (1, bins, 1, 1)
        or not np.array_equal(np.asarray(weights, np.float64).ravel(), np.arange(bins))
        or not tensors.are_distributions(np.moveaxis(elements, 1, -1))
        or elements.shape[1] != bins
    ):
        raise UnknownTail("a convolution in it is not the mean of box distributions")
    return [atoms_of(elements[:, :1] + DISTANCE)]


OPERATORS: Mapping[str, Operator] = {
    "Add": _add,
    "Cast": _cast,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _div,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _same,
    "Mul": _mul,
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _sigmoid,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _sub,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Operators by name. ``opset`` and ``outputs`` (their number) are among the attributes."""
