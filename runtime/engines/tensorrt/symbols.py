"""TensorRT's symbolic sides of a shape, so that they calculate as numbers do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Symbol"]


@dataclass(frozen=True, eq=False)
class Symbol:
    """A side of a shape, perhaps known only when the engine runs.

    Attributes:
        trt: The module ``tensorrt``.
        builder: Its ``IExprBuilder``.
        expression: Its ``IDimensionExpr``.
    """

    trt: Any
    builder: Any
    expression: Any

    def __add__(self, other: Symbol | int) -> Symbol:
        return self._with(self.trt.DimensionOperation.SUM, self, other)

    def __radd__(self, other: int) -> Symbol:
        return self._with(self.trt.DimensionOperation.SUM, other, self)

    def __sub__(self, other: Symbol | int) -> Symbol:
        return self._with(self.trt.DimensionOperation.SUB, self, other)

    def __rsub__(self, other: int) -> Symbol:
        return self._with(self.trt.DimensionOperation.SUB, other, self)

    def __mul__(self, other: Symbol | int) -> Symbol:
        return self._with(self.trt.DimensionOperation.PROD, self, other)

    def __rmul__(self, other: int) -> Symbol:
        return self._with(self.trt.DimensionOperation.PROD, other, self)

    def __floordiv__(self, other: Symbol | int) -> Symbol:
        return self._with(self.trt.DimensionOperation.FLOOR_DIV, self, other)

    def _with(self, operation: Any, left: Symbol | int, right: Symbol | int) -> Symbol:
        sides = [
            side.expression if isinstance(side, Symbol) else self.builder.constant(side) for side in (left, right)
        ]  # fmt: skip
        return Symbol(self.trt, self.builder, self.builder.operation(operation, *sides))
