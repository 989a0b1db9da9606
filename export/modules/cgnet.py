"""CGNet: blocks that join local features with their surroundings and weigh them by the whole picture.

Wu, Tang, Zhang, Cao and Zhang, "CGNet: A Light-weight Context Guided Network for Semantic Segmentation", IEEE
Transactions on Image Processing 30, 2021 (arXiv 1811.08201). Names in the state dict are those of the published
checkpoints.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["CGNet", "ContextGuidedBlock", "ContextGuidedDown", "GlobalContext", "InputInjection", "Residual"]

Residual = Literal["global", "local"]

BN_EPS = 1e-3
STAGE_2, STAGE_3 = 64, 128
"""Channels of the second and the third stage."""

STEM = 32


class _Norm(nn.Module):
    """BatchNorm and PReLU, and a convolution before them where it is given."""

    def __init__(self, channels: int, eps: float, conv: nn.Conv2d | None = None) -> None:
        super().__init__()
        if conv is not None:
            self.conv = conv
        self.bn = nn.BatchNorm2d(channels, eps=eps)
        self.act = nn.PReLU(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps ``(B, C_in, H, W)`` to what the convolution makes of it."""
        return cast(torch.Tensor, self.act(self.bn(self.conv(x) if "conv" in self._modules else x)))


class _Conv(nn.Module):
    """A convolution without a bias, under the name that the checkpoints give it."""

    def __init__(self, c1: int, c2: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = _conv(c1, c2, kernel, stride, dilation, groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps ``(B, c1, H, W)`` to ``(B, c2, H / stride, W / stride)``."""
        return cast(torch.Tensor, self.conv(x))


class GlobalContext(nn.Module):
    """Weighs channels by the whole map: ``x * sigmoid(W2 relu(W1 mean(x) + b1) + b2)``, F_glo (section III-A).

    Args:
        channels: Number of channels C.
        reduction: C divided by the channels between the two linear layers.

    Raises:
        ValueError: The reduction leaves no channel.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        inner = channels // reduction
        if not inner:
            raise ValueError(f"A reduction of {reduction} leaves no channel of {channels}: take {channels} or less")
        self.fc = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weighs ``(B, C, H, W)``; same shape."""
        return x * cast(torch.Tensor, self.fc(x.mean((2, 3))))[:, :, None, None]


class ContextGuidedBlock(nn.Module):
    """The context guided block (section III-A, figure 3).

    ``z = PReLU(BN(conv 1x1(x)))``; ``joi = PReLU(BN([conv3x3 depth-wise(z), dilated conv3x3 depth-wise(z)]))``;
    global residual learning: ``y = x + F_glo(joi)``; local residual learning: ``y = F_glo(x + joi)`` (figure 5).

    Args:
        c1: Channels of the input.
        c2: Channels of the output, even.
        dilation: Of the convolution that sees the surroundings.
        reduction: Of `GlobalContext`.
        add: Learn a residual; needs ``c1 == c2``.
        residual: Where the input is added: ``global`` behind F_glo (the paper's choice), ``local`` before it.
        eps: Of the BatchNorms.

    Raises:
        ValueError: The channels do not fit.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        dilation: int = 2,
        reduction: int = 16,
        add: bool = True,
        residual: Residual = "global",
        eps: float = BN_EPS,
    ) -> None:
        super().__init__()
        if c2 % 2:
            raise ValueError(f"A context guided block joins two equal halves, so {c2} channels must be an even number")
        if add and c1 != c2:
            raise ValueError(f"A residual needs as many channels in as out, not {c1} and {c2}: switch it off with add")
        if residual not in ("global", "local"):
            raise ValueError(f"There is no residual '{residual}': take 'global' or 'local'")
        half = c2 // 2
        self.add, self.residual = add, residual
        self.conv1x1 = _Norm(half, eps, _conv(c1, half, 1))
        self.F_loc = _Conv(half, half, 3, groups=half)
        self.F_sur = _Conv(half, half, 3, dilation=dilation, groups=half)
        self.bn_prelu = _Norm(c2, eps)
        self.F_glo = GlobalContext(c2, reduction)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps ``(B, c1, H, W)`` to ``(B, c2, H, W)``."""
        z = self.conv1x1(x)
        joined = self.bn_prelu(torch.cat([self.F_loc(z), self.F_sur(z)], 1))
        if self.add and self.residual == "local":
            return cast(torch.Tensor, self.F_glo(x + joined))
        y = cast(torch.Tensor, self.F_glo(joined))
        return x + y if self.add else y


class ContextGuidedDown(nn.Module):
    """The context guided block that halves the resolution (section III-B).

    Its first convolution is 3x3 with stride 2, both branches have all channels, and a 1x1 convolution brings the two
    together; there is no residual.

    Args:
        c1: Channels of the input.
        c2: Channels of the output.
        dilation: Of the convolution that sees the surroundings.
        reduction: Of `GlobalContext`.
        eps: Of the BatchNorms.

    Raises:
        ValueError: The reduction leaves no channel.
    """

    def __init__(self, c1: int, c2: int, dilation: int = 2, reduction: int = 16, eps: float = BN_EPS) -> None:
        super().__init__()
        self.conv1x1 = _Norm(c2, eps, _conv(c1, c2, 3, stride=2))
        self.F_loc = _Conv(c2, c2, 3, groups=c2)
        self.F_sur = _Conv(c2, c2, 3, dilation=dilation, groups=c2)
        self.bn = nn.BatchNorm2d(2 * c2, eps=eps)
        self.act = nn.PReLU(2 * c2)
        self.reduce = _Conv(2 * c2, c2, 1)
        self.F_glo = GlobalContext(c2, reduction)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps ``(B, c1, H, W)`` to ``(B, c2, H / 2, W / 2)``, sides rounded up."""
        z = self.conv1x1(x)
        joined = self.act(self.bn(torch.cat([self.F_loc(z), self.F_sur(z)], 1)))
        return cast(torch.Tensor, self.F_glo(self.reduce(joined)))


class InputInjection(nn.Module):
    """The picture made smaller: average pooling 3x3 with stride 2, several times; borders count as zeros.

    Args:
        times: How often the sides are halved.
    """

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps ``(B, C, H, W)`` to ``(B, C, H / 2**times, W / 2**times)``, sides rounded up each time."""
        for _ in range(self.times):
            x = F.avg_pool2d(x, 3, 2, 1)
        return x


class CGNet(nn.Module):
    """The whole network for semantic segmentation (section III-C, table I); 0.5 M parameters as published.

    The second stage reads stem and picture; the third reads the first and the last block of the second and the
    picture; the classifier reads the first and the last block of the third.

    Args:
        classes: Number of classes.
        m: Blocks of the second stage (dilation 2), at least 1.
        n: Blocks of the third stage (dilation 4), at least 1.
        residual: See `ContextGuidedBlock`.
        channels: Channels of the picture.

    Raises:
        ValueError: A stage has no block.
    """

    def __init__(
        self, classes: int = 19, m: int = 3, n: int = 21, residual: Residual = "global", channels: int = 3
    ) -> None:
        super().__init__()
        if min(m, n) < 1:
            raise ValueError(f"Each stage of a CGNet has at least one block, not {m} and {n}")
        self.level1_0 = _Norm(STEM, BN_EPS, _conv(channels, STEM, 3, stride=2))
        self.level1_1 = _Norm(STEM, BN_EPS, _conv(STEM, STEM, 3))
        self.level1_2 = _Norm(STEM, BN_EPS, _conv(STEM, STEM, 3))
        self.sample1, self.sample2 = InputInjection(1), InputInjection(2)
        self.b1 = _Norm(STEM + channels, BN_EPS)
        self.level2_0 = ContextGuidedDown(STEM + channels, STAGE_2, dilation=2, reduction=8)
        self.level2 = nn.ModuleList(
            ContextGuidedBlock(STAGE_2, STAGE_2, dilation=2, reduction=8, residual=residual) for _ in range(m - 1)
        )
        joined = 2 * STAGE_2 + channels
        self.bn_prelu_2 = _Norm(joined, BN_EPS)
        self.level3_0 = ContextGuidedDown(joined, STAGE_3, dilation=4, reduction=16)
        self.level3 = nn.ModuleList(
            ContextGuidedBlock(STAGE_3, STAGE_3, dilation=4, reduction=16, residual=residual) for _ in range(n - 1)
        )
        self.bn_prelu_3 = _Norm(2 * STAGE_3, BN_EPS)
        self.classifier = nn.Sequential(_Conv(2 * STAGE_3, classes, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of pictures.

        Args:
            x: ``(B, channels, H, W)``.

        Returns:
            ``(B, classes, H, W)``, resized bilinearly from 1/8 of the resolution.
        """
        stem = self.level1_2(self.level1_1(self.level1_0(x)))
        first = self.level2_0(self.b1(torch.cat([stem, self.sample1(x)], 1)))
        last = first
        for block in self.level2:
            last = block(last)
        first_3 = self.level3_0(self.bn_prelu_2(torch.cat([last, first, self.sample2(x)], 1)))
        last = first_3
        for block in self.level3:
            last = block(last)
        scores = self.classifier(self.bn_prelu_3(torch.cat([first_3, last], 1)))
        return F.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=False)


def _conv(c1: int, c2: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without a bias that pads so that stride 1 keeps the size."""
    padding = (kernel - 1) // 2 * dilation
    return nn.Conv2d(c1, c2, kernel, stride, padding, dilation, groups, bias=False)
