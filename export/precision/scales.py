"""Scales and zero points: from ranges to the numbers of a Q/DQ pair, and weights to bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SIGNED", "Scale", "bytes_of_weights", "signed_scale", "unsigned_scale"]

SIGNED = 127
"""Greatest signed byte that is used; -128 would have no counterpart."""

SMALLEST = 1e-8
"""Least scale: that of a tensor that is all zero may be anything but zero."""


@dataclass(frozen=True)
class Scale:
    """What a byte means: ``value = (byte - zero) * scale``.

    Attributes:
        scale: Of one step.
        zero: The byte that means 0.
        signed: Whether bytes go from -128 to 127 instead of 0 to 255.
    """

    scale: float
    zero: int
    signed: bool


def signed_scale(low: float, high: float) -> Scale:
    """Symmetric, as TensorRT asks for: the byte 0 is 0.

    Args:
        low: Least value of the tensor.
        high: Greatest value.
    """
    return Scale(max(max(-low, high) / SIGNED, SMALLEST), 0, True)


def unsigned_scale(low: float, high: float) -> Scale:
    """The whole range of a byte for the range of a tensor, which always holds 0.

    Args:
        low: Least value of the tensor.
        high: Greatest value.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, SMALLEST)
    return Scale(scale, int(np.clip(round(-low / scale), 0, 255)), False)


def bytes_of_weights(
    weights: npt.NDArray[np.float32], most: int = SIGNED
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Rounds the weights of a convolution to signed bytes, each output channel with a scale of its own.

    Args:
        weights: ``(channels, ...)``.
        most: Greatest byte.

    Returns:
        The bytes, and the ``(channels,)`` scales.
    """
    flat = np.abs(weights.reshape(len(weights), -1)).max(axis=1, initial=0)
    scales = np.maximum(flat / most, SMALLEST).astype(np.float32)
    shaped = scales.reshape(-1, *[1] * (weights.ndim - 1))
    return np.clip(np.rint(weights / shaped), -most, most).astype(np.int8), scales
