"""BatchNorm folded into the convolution before it, in float64 so that nothing is lost on the way."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

__all__ = ["folded_norm", "scale_and_shift"]


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """What a BatchNorm does in eval mode: ``y = x * scale + shift``; both ``(C,)``, float64."""
    mean, variance = cast(torch.Tensor, norm.running_mean).double(), cast(torch.Tensor, norm.running_var).double()
    scale = norm.weight.detach().double() / torch.sqrt(variance + norm.eps)
    return scale, norm.bias.detach().double() - mean * scale


def folded_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias (float64) of the convolution that does what a convolution and its BatchNorm do."""
    scale, shift = scale_and_shift(norm)
    bias = 0 if conv.bias is None else conv.bias.detach().double() * scale
    return conv.weight.detach().double() * scale.view(-1, 1, 1, 1), shift + bias
