"""What convolutional networks are made of, in plain numpy and float64; nothing here knows torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
State = Mapping[str, npt.NDArray[np.floating]]


def conv(x: Array, weight: Array, bias: Array | None = None, *, stride: int = 1, dilation: int = 1) -> Array:
    """A convolution that pads so that stride 1 keeps the size; depth-wise where the weight has one input channel.

    ``x`` (B, C, H, W), ``weight`` (O, I, k, k), with I equal to C or to 1.
    """
    weight = weight.astype(np.float64)
    side = weight.shape[-1]
    pad = (side - 1) // 2 * dilation
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    height, width = (-(-length // stride) for length in x.shape[2:])
    y = np.zeros((len(x), len(weight), height, width))
    for row in range(side):
        for column in range(side):
            top, left = row * dilation, column * dilation
            part = padded[:, :, top : top + height * stride : stride, left : left + width * stride : stride]
            part = part[:, :, :height, :width]
            if weight.shape[1] == 1 and x.shape[1] > 1:
                y += part * weight[:, 0, row, column][None, :, None, None]
            else:
                y += np.einsum("bihw,oi->bohw", part, weight[:, :, row, column])
    return y if bias is None else y + bias.astype(np.float64)[None, :, None, None]


def batch_norm(x: Array, state: State, prefix: str, eps: float = 1e-5) -> Array:
    """A BatchNorm in eval mode."""
    mean, variance, weight, bias = (
        state[f"{prefix}{name}"].astype(np.float64)[None, :, None, None]
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(variance + eps) * weight + bias


def layer_norm(x: Array, weight: Array, bias: Array, eps: float = 1e-6) -> Array:
    """A layer norm over axis 1."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean = x.mean(1, keepdims=True)
    variance = ((x - mean) ** 2).mean(1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * weight.reshape(shape) + bias.reshape(shape)


def gelu(x: Array) -> Array:
    """``x * Phi(x)`` with the exact distribution function."""
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def prelu(x: Array, slope: Array) -> Array:
    return np.where(x > 0, x, x * slope[None, :, None, None])
