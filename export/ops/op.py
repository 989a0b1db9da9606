"""What an operator of ours is: one declaration with a torch form, an ONNX body and a name that says its configuration.

A function of ONNX cannot vary its loops by an attribute, so whatever shapes the computation is part of the name
(``Carafe_k5_up2``), and the name alone leads back to the operator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import onnx

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DOMAIN", "PLUGIN", "VERSION", "Attribute", "CustomOp", "Dtype", "Shape"]

DOMAIN = "lineside.ops"
"""ONNX domain of our nodes and functions, and namespace of the TensorRT plugins that may take their place."""

VERSION = 1

PLUGIN: Mapping[str, str] = {"plugin_namespace": DOMAIN, "plugin_version": str(VERSION)}
"""Attributes that every node of ours carries: TensorRT's ONNX parser looks for a plugin by them."""

Attribute = int | float | str | Sequence[int] | Sequence[float]

Shape = tuple[int, ...]

Dtype = Literal["float32", "int32"]
"""Element types that nodes of ours have in a graph, as numpy names them."""


class CustomOp(ABC):
    """One operator in one configuration; subclasses are frozen dataclasses whose fields are the configuration.

    Attributes:
        base: Name without configuration, the key of `lineside.export.ops.table.OPS`.
        inputs: Names of the inputs, in order.
        optional: How many of the last inputs a node may leave out.
        outputs: Names of the outputs, in order.
        integers: Those of them that are int32.
    """

    base: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    optional: ClassVar[int] = 0
    outputs: ClassVar[tuple[str, ...]]
    integers: ClassVar[frozenset[str]] = frozenset()

    @property
    def dtypes(self) -> Mapping[str, Dtype]:
        """Element type of each input and output in a graph that we write; all arithmetic there is float32.

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
    def parse(cls, name: str) -> CustomOp | None:
        """The operator of that name; None where the name is not one that this class gives."""

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        """Attributes of a node besides `PLUGIN`; none may change what the body computes."""
        return {}

    @abstractmethod
    def shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Shapes of the outputs for inputs of these shapes; plain arithmetic that checks nothing."""

    @abstractmethod
    def torch(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Computes it in torch, differentiable; a tuple where there is more than one output."""

    @abstractmethod
    def body(self) -> onnx.FunctionProto:
        """Computes it in standard operators of opset 18 that keep their meaning in 19; see `lineside.export.ops.body`."""
