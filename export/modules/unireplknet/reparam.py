"""A large depth-wise kernel trained as a sum of smaller dilated ones, and the folding of all of them into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from lineside.export.modules.folding import folded_norm

__all__ = ["BRANCHES", "Branch", "DilatedReparamBlock", "depthwise"]

Branch = tuple[int, int]
"""Kernel side and dilation of one branch."""

BRANCHES: Mapping[int, tuple[Branch, ...]] = MappingProxyType(
    {
        17: ((5, 1), (9, 2), (3, 4), (3, 5), (3, 7)),
        15: ((5, 1), (7, 2), (3, 3), (3, 5), (3, 7)),
        13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
        11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
        9: ((5, 1), (5, 2), (3, 3), (3, 4)),
        7: ((5, 1), (3, 2), (3, 3)),
        5: ((3, 1), (3, 2)),
    }
)
"""The branches that go with each kernel side, beside the large kernel itself."""


class DilatedReparamBlock(nn.Module):
    """Depth-wise ``BN(conv KxK) + sum of BN(conv kxk, dilation r)`` (Ding et al. 2024, section 3.2, figure 2).

    Args:
        channels: Number of channels C.
        kernel: Side K of the large kernel, odd.
        branches: Side and dilation of each small kernel; those of `BRANCHES` when None.
        deploy: Build the form with one convolution with a bias (`deployed` fills it).

    Raises:
        ValueError: There is no table for that kernel, or a branch is wider than it.
    """

    def __init__(
        self, channels: int, kernel: int, branches: Sequence[Branch] | None = None, deploy: bool = False
    ) -> None:
        super().__init__()
        self.kernel, self.branches = kernel, _checked(kernel, branches)
        self.lk_origin = depthwise(channels, kernel, bias=deploy)
        self.deploy = deploy
        if deploy:
            return
        self.origin_bn = nn.BatchNorm2d(channels)
        for side, dilation in self.branches:
            self.add_module(f"dil_conv_k{side}_{dilation}", depthwise(channels, side, dilation))
            self.add_module(f"dil_bn_k{side}_{dilation}", nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolves ``(B, C, H, W)``; same shape."""
        y = cast(torch.Tensor, self.lk_origin(x))
        if self.deploy:
            return y
        y = cast(torch.Tensor, self.origin_bn(y))
        for side, dilation in self.branches:
            conv, norm = self._branch(side, dilation)
            y = y + cast(torch.Tensor, norm(conv(x)))
        return y

    def merged(self) -> tuple[torch.Tensor, torch.Tensor]:
        """All branches as one kernel.

        A kernel of side k and dilation r is a kernel of side ``r * (k - 1) + 1`` with zeros between its numbers, and
        that one, zero-padded around its centre, has side K; the normalisations are folded in before.

        Returns:
            Weight ``(C, 1, K, K)`` and bias ``(C,)``, both float64.
        """
        if self.deploy:
            return self.lk_origin.weight.detach().double(), cast(torch.Tensor, self.lk_origin.bias).detach().double()
        weight, bias = folded_norm(self.lk_origin, self.origin_bn)
        for side, dilation in self.branches:
            small, shift = folded_norm(*self._branch(side, dilation))
            weight += _spread(small, dilation, self.kernel)
            bias += shift
        return weight, bias

    def deployed(self) -> DilatedReparamBlock:
        """The same function with one convolution; in eval mode, this block is left as it was."""
        weight, bias = self.merged()
        twin = DilatedReparamBlock(len(weight), self.kernel, self.branches, deploy=True).to(weight.device)
        twin.lk_origin.load_state_dict({"weight": weight.float(), "bias": bias.float()})
        return twin.eval()

    def _branch(self, side: int, dilation: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
        """The convolution and the normalisation of a branch."""
        name = f"k{side}_{dilation}"
        conv, norm = self.get_submodule(f"dil_conv_{name}"), self.get_submodule(f"dil_bn_{name}")
        return cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm)


def depthwise(channels: int, kernel: int, dilation: int = 1, bias: bool = False) -> nn.Conv2d:
    """A depth-wise convolution that keeps the size of the map."""
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation, groups=channels, bias=bias)


def _spread(weight: torch.Tensor, dilation: int, kernel: int) -> torch.Tensor:
    """A dilated kernel ``(C, 1, k, k)`` written as a dense one ``(C, 1, kernel, kernel)``."""
    one = torch.ones(1, 1, 1, 1, dtype=weight.dtype, device=weight.device)
    dense = F.conv_transpose2d(weight, one, stride=dilation)  # stride r puts r - 1 zeros between the numbers
    border = (kernel - dense.shape[-1]) // 2
    return F.pad(dense, [border] * 4)


def _checked(kernel: int, branches: Sequence[Branch] | None) -> tuple[Branch, ...]:
    """The branches for a kernel."""
    if branches is None:
        if kernel not in BRANCHES:
            raise ValueError(
                f"There is no table of dilated branches for the kernel size {kernel}: "
                f"take one of {', '.join(map(str, sorted(BRANCHES)))}, or name the branches"
            )
        return BRANCHES[kernel]
    for side, dilation in branches:
        if side % 2 == 0 or kernel % 2 == 0 or dilation * (side - 1) + 1 > kernel:
            raise ValueError(
                f"A branch of size {side} and dilation {dilation} does not fit into a kernel of size {kernel}: sizes "
                "are odd, and dilation * (size - 1) + 1 is at most that of the large kernel"
            )
    return tuple((side, dilation) for side, dilation in branches)
