"""CGNet in plain numpy, from its equations: parameters come in by their published names."""

from __future__ import annotations

import numpy as np

from oracle.convolution import Array, State, batch_norm, conv, prelu, sigmoid
from oracle.unireplknet import part


def norm(x: Array, state: State, eps: float) -> Array:
    """The convolution where there is one, BatchNorm, PReLU."""
    if "conv.weight" in state:
        raise ValueError("the stride of the convolution is not known here")
    return prelu(batch_norm(x, state, "bn.", eps), state["act.weight"])


def global_context(x: Array, state: State) -> Array:
    inner = np.maximum(x.mean((2, 3)) @ state["fc.0.weight"].T.astype(np.float64) + state["fc.0.bias"], 0)
    return x * sigmoid(inner @ state["fc.2.weight"].T.astype(np.float64) + state["fc.2.bias"])[:, :, None, None]


def block(
    x: Array,
    state: State,
    *,
    dilation: int,
    add: bool = True,
    local: bool = False,
    eps: float = 1e-3,
    down: bool = False,
) -> Array:
    first = conv(x, state["conv1x1.conv.weight"], stride=2 if down else 1)
    z = prelu(batch_norm(first, state, "conv1x1.bn.", eps), state["conv1x1.act.weight"])
    joined = np.concatenate(
        [conv(z, state["F_loc.conv.weight"]), conv(z, state["F_sur.conv.weight"], dilation=dilation)], 1
    )
    glo = part(state, "F_glo.")
    if down:
        joined = prelu(batch_norm(joined, state, "bn.", eps), state["act.weight"])
        return global_context(conv(joined, state["reduce.conv.weight"]), glo)
    joined = norm(joined, part(state, "bn_prelu."), eps)
    if not add:
        return global_context(joined, glo)
    return global_context(x + joined, glo) if local else x + global_context(joined, glo)


def injected(x: Array, times: int) -> Array:
    """Means of 3x3 pixels with stride 2; pixels outside the picture count as zeros."""
    weight = np.full((x.shape[1], 1, 3, 3), 1 / 9)
    for _ in range(times):
        x = conv(x, weight, stride=2) if x.shape[1] > 1 else conv(x, weight[:1], stride=2)
    return x


def resized(x: Array, height: int, width: int) -> Array:
    """Bilinear, pixel centres aligned, borders repeated."""
    for axis, length in ((2, height), (3, width)):
        old = x.shape[axis]
        place = np.clip((np.arange(length) + 0.5) * old / length - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, old - 1)
        share = (place - low).reshape([-1 if index == axis else 1 for index in range(4)])
        x = x.take(low, axis) * (1 - share) + x.take(high, axis) * share
    return x


def network(x: Array, state: State, second: int, third: int, local: bool = False) -> Array:
    eps = 1e-3

    def stem(y: Array, name: str, stride: int) -> Array:
        y = conv(y, state[f"{name}.conv.weight"], stride=stride)
        return prelu(batch_norm(y, state, f"{name}.bn.", eps), state[f"{name}.act.weight"])

    y = stem(stem(stem(x, "level1_0", 2), "level1_1", 1), "level1_2", 1)
    y = norm(np.concatenate([y, injected(x, 1)], 1), part(state, "b1."), eps)
    first = last = block(y, part(state, "level2_0."), dilation=2, down=True)
    for index in range(second - 1):
        last = block(last, part(state, f"level2.{index}."), dilation=2, local=local)
    y = norm(np.concatenate([last, first, injected(x, 2)], 1), part(state, "bn_prelu_2."), eps)
    first = last = block(y, part(state, "level3_0."), dilation=4, down=True)
    for index in range(third - 1):
        last = block(last, part(state, f"level3.{index}."), dilation=4, local=local)
    y = norm(np.concatenate([first, last], 1), part(state, "bn_prelu_3."), eps)
    return resized(conv(y, state["classifier.0.conv.weight"]), *x.shape[2:])
