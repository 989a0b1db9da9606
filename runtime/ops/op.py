"""What an operator of ours is to a device: one declaration, whose name says its configuration.

A function of ONNX cannot vary its loops by an attribute, so whatever shapes the computation is part of the name
(``Carafe_k5_up2``), and the name alone leads back to the operator.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

from lineside.runtime.kernels.kernel import Kernel, Launch

__all__ = ["DOMAIN", "PLUGIN", "VERSION", "Attribute", "DeviceOp", "Dtype", "Shape"]

DOMAIN = "lineside.ops"
"""ONNX domain of our nodes and functions, and namespace of the TensorRT plugins that may take their place."""

VERSION = 1

PLUGIN: Mapping[str, str] = {"plugin_namespace": DOMAIN, "plugin_version": str(VERSION)}
"""Attributes that every node of ours carries: TensorRT's ONNX parser looks for a plugin by them."""

_Own = TypeVar("_Own", bound="DeviceOp")

Attribute = int | float | str | Sequence[int] | Sequence[float]

Shape = tuple[Any, ...]
"""Sides of a tensor: whole numbers, or what a builder computes with in the place of them."""

Dtype = Literal["float32", "int32"]
"""Element types that nodes of ours have in a graph of FP32, as numpy names them."""


class DeviceOp(ABC):
    """One operator in one configuration; subclasses are frozen dataclasses whose fields are the configuration.

    Attributes:
        base: Name without configuration, the key of `lineside.runtime.ops.table.OPS`.
        inputs: Names of the inputs, in order.
        optional: How many of the last inputs a node may leave out.
        outputs: Names of the outputs, in order.
        integers: Those of them that are int32.
        floating: Those of them that are float16 in a graph of FP16; the others (places, rates) stay float32 there.
    """

    base: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    optional: ClassVar[int] = 0
    outputs: ClassVar[tuple[str, ...]]
    integers: ClassVar[frozenset[str]] = frozenset()
    floating: ClassVar[frozenset[str]] = frozenset()

    @property
    def dtypes(self) -> Mapping[str, Dtype]:
        """Element type of each input and output in a graph of FP32; all arithmetic is float32 in any graph.

        Bodies and torch forms may admit others; this is what `lineside.export.ops.declare.DECLARE` lets into a file, and
        what a kernel or plugin of that name has to serve.
        """
        return {name: "int32" if name in self.integers else "float32" for name in (*self.inputs, *self.outputs)}

    @property
    @abstractmethod
    def name(self) -> str:
        """Name with the configuration, such as ``Carafe_k5_up2``: type of the node and name of the function."""

    @classmethod
    @abstractmethod
    def parse(cls: type[_Own], name: str) -> _Own | None:
        """The operator of that name; None where the name is not one that this class gives."""

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        """Attributes of a node besides `PLUGIN`; none may change what the body computes."""
        return {}

    @abstractmethod
    def shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Shapes of the outputs for inputs of these shapes; plain arithmetic that checks nothing."""

    def empty(self, shapes: Sequence[Shape]) -> bool:
        """Whether outputs hold nothing for inputs of these shapes: then nothing is launched.

        Args:
            shapes: Shape of each input, in numbers.
        """
        return not any(math.prod(sides) for sides in self.shapes(*shapes))

    def device_kernel(self, half: bool) -> Kernel | None:
        """The kernel that computes it; None where a device has no kernel of ours.

        Args:
            half: Whether the `floating` inputs and outputs are float16.
        """
        return None

    def launch(self, shapes: Sequence[Shape], addresses: Sequence[int], half: bool) -> Launch:
        """The launch that computes it, where it is not `empty`.

        Args:
            shapes: Shape of each input.
            addresses: Device addresses of the inputs and then of the outputs, all of them dense.
            half: As in `device_kernel`.

        Raises:
            NotImplementedError: It has no kernel.
        """
        raise NotImplementedError(f"{self.name} has no kernel of ours")
