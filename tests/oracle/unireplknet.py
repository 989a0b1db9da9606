"""UniRepLKNet in plain numpy, from its equations: parameters come in by their published names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oracle.convolution import Array, State, batch_norm, conv, gelu, layer_norm, sigmoid

KERNELS = {
    5: ([3, 3], [1, 2]),
    7: ([5, 3, 3], [1, 2, 3]),
    9: ([5, 5, 3, 3], [1, 2, 3, 4]),
    11: ([5, 5, 3, 3, 3], [1, 2, 3, 4, 5]),
    13: ([5, 7, 3, 3, 3], [1, 2, 3, 4, 5]),
    15: ([5, 7, 3, 3, 3], [1, 2, 3, 5, 7]),
    17: ([5, 9, 3, 3, 3], [1, 2, 4, 5, 7]),
}


def part(state: State, prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) :]: array for name, array in state.items() if name.startswith(prefix)}


def grn(x: Array, gamma: Array, beta: Array, eps: float = 1e-6) -> Array:
    """``x`` (B, H, W, C)."""
    length = np.sqrt((x**2).sum((1, 2), keepdims=True))
    return (gamma * (length / (length.mean(3, keepdims=True) + eps)) + 1) * x + beta


def squeeze_excite(x: Array, state: State) -> Array:
    mean = x.mean((2, 3))
    inner = np.maximum(mean @ state["down.weight"][:, :, 0, 0].T.astype(np.float64) + state["down.bias"], 0)
    gate = sigmoid(inner @ state["up.weight"][:, :, 0, 0].T.astype(np.float64) + state["up.bias"])
    return x * gate[:, :, None, None]


def dilated(x: Array, state: State, sides: Sequence[int], dilations: Sequence[int]) -> Array:
    y = batch_norm(conv(x, state["lk_origin.weight"]), state, "origin_bn.")
    for side, dilation in zip(sides, dilations, strict=True):
        branch = conv(x, state[f"dil_conv_k{side}_{dilation}.weight"], dilation=dilation)
        y = y + batch_norm(branch, state, f"dil_bn_k{side}_{dilation}.")
    return y


def block(x: Array, state: State, kernel: int, eps: float = 1e-6) -> Array:
    y = x
    if kernel:
        spatial = part(state, "dwconv.")
        y = dilated(x, spatial, *KERNELS[kernel]) if kernel >= 7 else conv(x, spatial["weight"])
    if "norm.weight" in state:
        y = batch_norm(y, state, "norm.")
    y = squeeze_excite(y, part(state, "se.")).transpose(0, 2, 3, 1)
    y = gelu(y @ state["pwconv1.1.weight"].T.astype(np.float64) + state["pwconv1.1.bias"])
    y = grn(y, state["act.1.gamma"], state["act.1.beta"], eps)
    y = batch_norm((y @ state["pwconv2.0.weight"].T.astype(np.float64)).transpose(0, 3, 1, 2), state, "pwconv2.2.")
    return x + state["gamma"][None, :, None, None] * y


def network(x: Array, state: State, kernels: Sequence[Sequence[int]]) -> list[Array]:
    """Maps of the four stages before their norms."""
    maps = []
    for stage, sides in enumerate(kernels):
        down = part(state, f"downsample_layers.{stage}.")
        x = layer_norm(conv(x, down["0.weight"], down["0.bias"], stride=2), down["1.weight"], down["1.bias"])
        if stage == 0:
            x = conv(gelu(x), down["3.weight"], down["3.bias"], stride=2)
            x = layer_norm(x, down["4.weight"], down["4.bias"])
        for index, side in enumerate(sides):
            x = block(x, part(state, f"stages.{stage}.{index}."), side)
        maps.append(x)
    return maps
