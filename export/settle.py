"""Brings an untrained model to life: measures the BatchNorm statistics that training would have measured.

A network with random weights and unmeasured BatchNorm dies out on the way to its head: it answers every picture with
the same numbers, and comparing those would prove nothing. With statistics measured on a few pictures every layer passes
its signal on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from lineside.export.parity.letterbox import letterboxed, place
from lineside.export.pictures import Picture

__all__ = ["settle"]

SIDE = 320
"""Side of the input to measure with, in pixels."""


BLEND = 0.3
"""How far each channel's variance moves towards the mean of its layer, so that a channel where nearly nothing happens
is not blown up to be all rounding error."""


def settle(model: nn.Module, pictures: Sequence[Picture]) -> None:
    """Measures the statistics of every BatchNorm layer, in place; weights stay as they are.

    Args:
        model: An untrained model; in eval mode before and after.
        pictures: What to measure on; all of them go through once, together.
    """
    inputs = [letterboxed(picture.frame, place(_size(picture), (SIDE, SIDE))) for picture in pictures]
    tensor = torch.from_numpy(np.stack(inputs).transpose(0, 3, 1, 2).astype(np.float32) / 255)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 1.0  # the statistics of this one batch, no average with the start values
    model.train()
    try:
        with torch.no_grad():
            model(tensor)
    finally:
        model.eval()
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            variance = layer.running_var
            if variance is not None:
                variance.lerp_(variance.mean(), BLEND)


def _size(picture: Picture) -> tuple[int, int]:
    return picture.frame.shape[0], picture.frame.shape[1]
