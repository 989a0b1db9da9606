"""What an operator of ours is to the training side: its declaration with a torch form and an ONNX body.

The declaration (`lineside.runtime.ops`) has no torch and no onnx, since devices read it too.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import onnx

from lineside.runtime.ops.op import DOMAIN, PLUGIN, VERSION, Attribute, DeviceOp, Dtype, Shape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DOMAIN", "PLUGIN", "VERSION", "Attribute", "CustomOp", "Dtype", "Shape"]


class CustomOp(DeviceOp):
    """One operator in one configuration; subclasses add what is abstract here to their declaration."""

    def complete(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Its inputs as they are written into a graph: with something that changes nothing for each one left out.

        TensorRT's parser expands a function only where a node has all of its inputs.
        """
        return tensors

    @abstractmethod
    def torch(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Computes it in torch, differentiable; a tuple where there is more than one output."""

    @abstractmethod
    def body(self) -> onnx.FunctionProto:
        """Computes it in standard operators of opset 18 that keep their meaning in 19; see `lineside.export.ops.body`."""
