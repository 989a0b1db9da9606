"""Random weights for a module, such that every parameter matters."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


def randomised(module: nn.Module, seed: int = 0) -> dict[str, np.ndarray]:
    """Fills a module with seeded numbers, also where its own start is 0 or 1, and switches it to eval mode.

    Returns:
        The same numbers by name, float32.
    """
    rng = np.random.default_rng(seed)
    state = {}
    for name, tensor in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        shape = tuple(tensor.shape)
        if name.endswith("running_var"):
            values = rng.uniform(0.5, 2.0, shape)
        elif len(shape) > 1:
            values = rng.normal(0, 1 / np.sqrt(max(1, np.prod(shape[1:]))), shape)
        else:
            values = rng.normal(0, 0.5, shape) + (1 if name.endswith("weight") else 0)
        state[name] = values.astype(np.float32)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()}, strict=False)
    module.eval()
    return state


def picture(*shape: int, seed: int = 1) -> np.ndarray:
    """A seeded input, normally distributed, float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
