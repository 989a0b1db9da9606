"""Reads published UniRepLKNet checkpoints: sizes are told by the names and shapes of the tensors."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch

from lineside.export.modules.unireplknet.network import STRIDES, UniRepLKNet
from lineside.runtime.errors import WeightsError

__all__ = ["load_upstream", "network_of"]

State = Mapping[str, torch.Tensor]

WRAPPERS = ("state_dict", "model", "model_ema")
"""Keys under which training programs keep the weights."""

PREFIXES = ("module.", "backbone.")
"""What names begin with where the network was wrapped for several devices, or is a part of a detector."""

BLOCK = re.compile(r"stages\.(\d+)\.(\d+)\.")


def load_upstream(path: str | os.PathLike[str]) -> UniRepLKNet:
    """Reads a published checkpoint, in training form or in deploy form, with or without a classifier.

    Nothing in the file is run: a ``.pth`` is read as plain tensors. Where the weights belong to a detector, what is
    not under ``backbone.`` is left out; beyond that every tensor must find its place and every place its tensor.

    Args:
        path: A ``.pth``, ``.pt`` or ``.safetensors`` file.

    Returns:
        The network with those weights, in eval mode; of output ``logits`` where there is a classifier.

    Raises:
        WeightsError: The file is missing, unreadable, or holds another network.
    """
    file = Path(path)
    if not file.is_file():
        raise WeightsError(f"There is no checkpoint '{file}'. Give the path of a .pth or .safetensors file.")
    state = _unwrapped(_read(file), file)
    try:
        return network_of(state)
    except (WeightsError, RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise WeightsError(f"'{file}' does not hold a UniRepLKNet as it was published: {text}") from error


def network_of(state: State) -> UniRepLKNet:
    """The network that a state dict belongs to, with its weights.

    Args:
        state: Tensors by their published names; counters of BatchNorm may be missing.

    Returns:
        The network in eval mode.

    Raises:
        WeightsError: Names are missing that tell the sizes.
        RuntimeError: Names or shapes do not fit.
    """
    stages: dict[int, int] = {}
    for name in state:
        found = BLOCK.match(name)
        if found:
            stage, block = int(found[1]), int(found[2])
            stages[stage] = max(stages.get(stage, 0), block + 1)
    if sorted(stages) != list(range(len(STRIDES))):
        raise WeightsError(f"it has blocks in the stages {sorted(stages)}, and the network has {len(STRIDES)} stages")
    depths = [stages[index] for index in range(len(STRIDES))]
    blocks = [[f"stages.{stage}.{index}." for index in range(depth)] for stage, depth in enumerate(depths)]
    dims = [_shape(state, f"{stage[0]}pwconv1.1.weight")[1] for stage in blocks]
    hidden = _shape(state, f"{blocks[0][0]}pwconv1.1.weight")[0]
    logits = "head.weight" in state
    network = UniRepLKNet(
        depths,
        dims,
        [[_kernel(state, block) for block in stage] for stage in blocks],
        "logits" if logits else "features",
        classes=_shape(state, "head.weight")[0] if logits else 0,
        channels=_shape(state, "downsample_layers.0.0.weight")[1],
        ffn_factor=hidden / dims[0],
        layer_scale=1.0 if f"{blocks[0][0]}gamma" in state else None,
        deploy=f"{blocks[0][0]}pwconv2.0.bias" in state,
    )
    network.load_state_dict(dict(state))
    return network.eval()


def _read(file: Path) -> object:
    """What is in the file."""
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(str(file))
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in any way
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"'{file}' cannot be read as a checkpoint of plain tensors ({text}): download it again, or save its state "
            "dict as .safetensors with the program that wrote it"
        ) from error


def _unwrapped(content: object, file: Path) -> dict[str, torch.Tensor]:
    """The state dict in the content of a file, under the names of the network itself."""
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError(f"'{file}' holds no state dict: its tensors must be at the top or under {WRAPPERS}")
    state = cast(Mapping[str, torch.Tensor], content)
    for prefix in PREFIXES:
        inner = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        state = inner or state
    return dict(state)


def _kernel(state: State, block: str) -> int:
    """Kernel side of a block; 0 where it has no convolution of its own."""
    names = (f"{block}dwconv.lk_origin.weight", f"{block}dwconv.weight")
    return next((int(state[name].shape[-1]) for name in names if name in state), 0)


def _shape(state: State, name: str) -> torch.Size:
    """Shape of a tensor that must be there."""
    if name not in state:
        raise WeightsError(f"it has no tensor '{name}'")
    return state[name].shape
