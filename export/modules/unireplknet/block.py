"""The block of UniRepLKNet: large depth-wise kernel, squeeze and excitation, feed-forward with response normalisation."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from lineside.export.modules.folding import folded_norm, scale_and_shift
from lineside.export.modules.unireplknet.parts import GRN, Pointwise, SqueezeExcite, linear_of_pixels
from lineside.export.modules.unireplknet.reparam import Branch, DilatedReparamBlock, depthwise

__all__ = ["LAYER_SCALE", "REPARAM_FROM", "UniRepLKNetBlock"]

REPARAM_FROM = 7
"""Smallest kernel side that is trained with dilated branches; 3 and 5 are plain depth-wise convolutions."""

PLAIN_KERNELS = (3, 5)
LAYER_SCALE = 1e-6
"""What the published networks start ``gamma`` with."""


class UniRepLKNetBlock(nn.Module):
    """``x + gamma * BN(W2 GRN(GELU(W1 SE(BN(depth-wise KxK(x)))) + b1))`` (Ding et al. 2024, figure 3).

    Written for ``(B, C, H, W)`` throughout: the two linear layers are 1x1 convolutions, so that nothing is transposed.

    Args:
        channels: Number of channels C.
        kernel: Side K of the depth-wise kernel; 0 leaves the convolution and its BatchNorm out, 3 and 5 are plain, and
            from 7 on there are dilated branches.
        ffn_factor: Channels of the feed-forward part as a multiple of C.
        layer_scale: What ``gamma`` starts with; None leaves it out.
        branches: Side and dilation of each dilated branch; those of the kernel's table when None.
        drop_path: Share of training samples that skip the block (stochastic depth).
        deploy: Build the form without BatchNorm, ``gamma`` and the shift of the response normalisation, whose
            convolutions have biases instead (`deployed` fills it).

    Raises:
        ValueError: The kernel is none of those.
    """

    def __init__(
        self,
        channels: int,
        kernel: int,
        ffn_factor: float = 4.0,
        layer_scale: float | None = LAYER_SCALE,
        branches: Sequence[Branch] | None = None,
        drop_path: float = 0.0,
        deploy: bool = False,
    ) -> None:
        super().__init__()
        hidden = int(channels * ffn_factor)
        self.channels, self.kernel, self.ffn_factor, self.branches = channels, kernel, ffn_factor, branches
        self.drop_path, self.deploy = drop_path, deploy
        self.dwconv = _spatial(channels, kernel, branches, deploy)
        self.norm = nn.BatchNorm2d(channels) if kernel and not deploy else nn.Identity()
        self.se = SqueezeExcite(channels, channels // 4)
        # Names and numbers of the slots are those of the checkpoints; what reorders axes there has no parameters.
        self.pwconv1 = nn.Sequential(OrderedDict({"1": Pointwise(channels, hidden)}))
        self.act = nn.Sequential(
            OrderedDict({"0": nn.GELU(), "1": GRN(hidden, use_bias=not deploy, channels_last=False)})
        )
        linear = Pointwise(hidden, channels, bias=deploy)
        last = {"0": linear} if deploy else {"0": linear, "2": nn.BatchNorm2d(channels)}
        self.pwconv2 = nn.Sequential(OrderedDict(last))
        scale = None if deploy or layer_scale is None else torch.full((channels,), layer_scale)
        self.gamma = None if scale is None else nn.Parameter(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps ``(B, C, H, W)`` to the same shape."""
        y = self.pwconv2(self.act(self.pwconv1(self.se(self.norm(self.dwconv(x))))))
        if self.gamma is not None:
            y = self.gamma.view(1, -1, 1, 1) * y
        return x + self._sometimes(y)

    def deployed(self) -> UniRepLKNetBlock:
        """The same function in deploy form, in eval mode; this block is left as it was.

        Branches and BatchNorm go into the depth-wise convolution; the shift of the response normalisation, the
        last BatchNorm and ``gamma`` go into weight and bias of the second linear layer.
        """
        twin = UniRepLKNetBlock(self.channels, self.kernel, self.ffn_factor, None, self.branches, deploy=True)
        twin.to(next(self.parameters()).device)
        weight, bias = _kernel_and_bias(self.dwconv, self.norm)
        if weight is not None:
            target = twin.dwconv.lk_origin if isinstance(twin.dwconv, DilatedReparamBlock) else twin.dwconv
            target.load_state_dict({"weight": weight.float(), "bias": cast(torch.Tensor, bias).float()})
        else:
            twin.norm = copy.deepcopy(self.norm)  # without a kernel there is nothing that a BatchNorm could go into
        twin.se.load_state_dict(self.se.state_dict())
        twin.pwconv1.load_state_dict(self.pwconv1.state_dict())
        mine, its = cast(GRN, self.act[1]), cast(GRN, twin.act[1])
        its.eps, its.gamma.data = mine.eps, mine.gamma.detach().clone()
        twin.pwconv2[0] = linear_of_pixels(*self._last_linear())
        return twin.eval()

    def _last_linear(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias (float64) of the second linear layer with all that follows, and the shift before it."""
        linear, grn = cast(Pointwise, self.pwconv2[0]), cast(GRN, self.act[1])
        weight = linear.weight.detach().double()
        bias = torch.zeros(len(weight), dtype=weight.dtype, device=weight.device)
        if linear.bias is not None:
            bias = bias + linear.bias.detach().double()
        if grn.beta is not None:
            bias = bias + weight @ grn.beta.detach().double().flatten()
        if not self.deploy:
            scale, shift = scale_and_shift(cast(nn.BatchNorm2d, self.pwconv2[1]))
            weight, bias = weight * scale[:, None], bias * scale + shift
        if self.gamma is not None:
            gamma = self.gamma.detach().double()
            weight, bias = weight * gamma[:, None], bias * gamma
        return weight, bias

    def _sometimes(self, y: torch.Tensor) -> torch.Tensor:
        """In training, zero for a share of the samples, and the others scaled so that the mean stays."""
        if not self.training or not self.drop_path:
            return y
        keep = 1 - self.drop_path
        return y * torch.empty(len(y), 1, 1, 1, dtype=y.dtype, device=y.device).bernoulli_(keep) / keep


def _spatial(channels: int, kernel: int, branches: Sequence[Branch] | None, deploy: bool) -> nn.Module:
    """What mixes neighbouring pixels."""
    if not kernel:
        return nn.Identity()
    if kernel in PLAIN_KERNELS:
        return depthwise(channels, kernel, bias=deploy)
    if kernel < REPARAM_FROM:
        raise ValueError(f"A block cannot have a kernel of size {kernel}: take 0, 3, 5, or an odd size from 7 to 17")
    return DilatedReparamBlock(channels, kernel, branches, deploy)


def _kernel_and_bias(spatial: nn.Module, norm: nn.Module) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Weight and bias (float64) of the one depth-wise convolution that does the same; None where there is none."""
    if isinstance(spatial, nn.Identity):
        return None, None
    if isinstance(spatial, DilatedReparamBlock):
        weight, bias = spatial.merged()
    else:
        plain = cast(nn.Conv2d, spatial)
        if isinstance(norm, nn.BatchNorm2d):
            return folded_norm(plain, norm)
        return plain.weight.detach().double(), cast(torch.Tensor, plain.bias).detach().double()
    if isinstance(norm, nn.BatchNorm2d):
        scale, shift = scale_and_shift(norm)
        weight, bias = weight * scale.view(-1, 1, 1, 1), bias * scale + shift
    return weight, bias
