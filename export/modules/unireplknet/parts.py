"""The small parts of UniRepLKNet: response normalisation, squeeze and excitation, layer norm, per-pixel linear layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["GRN", "LayerNorm2d", "Pointwise", "SqueezeExcite", "linear_of_pixels"]

GRN_EPS = 1e-6


class GRN(nn.Module):
    """Global response normalisation.

    With ``G[c]`` the L2 norm of channel c over height and width and ``N[c] = G[c] / (mean over c of G + eps)``:
    ``y = (gamma * N + 1) * x + beta`` (Woo et al., "ConvNeXt V2", CVPR 2023, algorithm 1, residual taken in).

    Args:
        channels: Number of channels C.
        eps: Keeps the quotient finite.
        use_bias: Learn ``beta``; without it nothing is added (deploy form).
        channels_last: Layout of the input: ``(B, H, W, C)``, else ``(B, C, H, W)``. Parameters are ``(1, 1, 1, C)`` in
            both.
    """

    def __init__(self, channels: int, eps: float = GRN_EPS, use_bias: bool = True, channels_last: bool = True) -> None:
        super().__init__()
        self.eps, self.channels_last = eps, channels_last
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels)) if use_bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalises ``(B, H, W, C)`` or ``(B, C, H, W)``; same shape and dtype."""
        gain = self._shaped(self.gamma) * self._relative(x) + 1
        return x * gain if self.beta is None else x * gain + self._shaped(self.beta)

    def _relative(self, x: torch.Tensor) -> torch.Tensor:
        """``N``: the length of each channel as a multiple of the mean of all."""
        sides, channel = ((1, 2), 3) if self.channels_last else ((2, 3), 1)
        if not torch.onnx.is_in_onnx_export() or self.channels_last:
            norm: torch.Tensor = torch.linalg.vector_norm(x, dim=sides, keepdim=True)
            return norm / (norm.mean(dim=channel, keepdim=True) + self.eps)
        # The same divided by the root of the number of pixels: pooling is several times faster than a norm in
        # onnxruntime, and squares that are averaged stay in the range of FP16. Not for training: the root of zero has
        # no gradient.
        rms = F.adaptive_avg_pool2d(x * x, 1).sqrt()
        pixels = x.shape[2] * x.shape[3]
        relative: torch.Tensor = rms / (rms.mean(dim=channel, keepdim=True) + self.eps / pixels**0.5)
        return relative

    def _shaped(self, values: torch.Tensor) -> torch.Tensor:
        """Values per channel, in the layout of the input."""
        return values if self.channels_last else values.view(1, -1, 1, 1)


class SqueezeExcite(nn.Module):
    """Weighs channels by what the whole map holds: ``x * sigmoid(up(relu(down(mean of x over H and W))))``.

    Hu, Shen and Sun, "Squeeze-and-Excitation Networks", CVPR 2018, equations 2 to 4.

    Args:
        channels: Number of channels C.
        internal: Channels between the two 1x1 convolutions.
    """

    def __init__(self, channels: int, internal: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, internal, 1)
        self.up = nn.Conv2d(internal, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weighs ``(B, C, H, W)``; same shape."""
        return x * torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of every pixel of ``(B, C, H, W)``.

    Args:
        channels: Number of channels C.
        eps: Added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalises ``(B, C, H, W)``; same shape and dtype. Half precision, where 256 has no square, is widened."""
        return self._normalised(x.float()).to(x.dtype) if x.dtype.itemsize < 4 else self._normalised(x)

    def _normalised(self, x: torch.Tensor) -> torch.Tensor:
        """The formula, in float32 at least."""
        centred = x - x.mean(1, keepdim=True)
        scale = torch.rsqrt((centred * centred).mean(1, keepdim=True) + self.eps)
        return centred * scale * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class Pointwise(nn.Linear):
    """A linear layer on the channels of every pixel.

    Parameters are those of `torch.nn.Linear`, ``(out, in)`` and ``(out,)``, so that checkpoints made for maps with the
    channels last load as they are; the work is a 1x1 convolution, which needs no transposed copies of the map.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps ``(B, in_features, H, W)`` to ``(B, out_features, H, W)``."""
        return F.conv2d(x, self.weight[:, :, None, None], self.bias)


def linear_of_pixels(weight: torch.Tensor, bias: torch.Tensor) -> Pointwise:
    """A `Pointwise` with these numbers.

    Args:
        weight: ``(out, in)``.
        bias: ``(out,)``.

    Returns:
        The layer, float32.
    """
    layer = Pointwise(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return layer.to(weight.device)
