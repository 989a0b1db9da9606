"""Gradients for scans that a compiled extension computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["CompiledScan"]

ROWS = 1
"""Channels that one block of threads computes."""


class CompiledScan(torch.autograd.Function):
    """A scan by the functions ``fwd`` and ``bwd`` of VMamba's extension modules, with softplus.

    Every input has its gradient; what is no tensor has none.
    """

    @staticmethod
    def forward(
        ctx: Any, extension: Any, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, bias: Tensor
    ) -> Tensor:
        """The result y (B, D, L)."""
        tensors = [tensor.contiguous() for tensor in (u, delta, a, b, c, d, bias)]
        y, states, *_ = extension.fwd(*tensors, True, ROWS)
        ctx.extension = extension
        ctx.save_for_backward(*tensors, states)
        result: Tensor = y
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of u, delta, A, B, C, D and the bias."""
        *tensors, states = ctx.saved_tensors
        found = ctx.extension.bwd(*tensors, grads[0].contiguous(), states, True, ROWS)
        return (None, *found[: len(tensors)])
