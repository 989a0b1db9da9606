"""Tensors that follow from numbers alone, made once and shared: grids, masks of distances.

They belong to no module, so nothing of them is in a state_dict, a pickle or a copy, and half precision, in which
checkpoints keep what they store, does not round them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["shared"]

REMEMBERED = 128
"""Tensors that are kept; the least recently used one goes first."""


Maker = Callable[..., NDArray[np.float32]]
"""Makes numbers from hashable arguments; a function at module level."""


def shared(make: Maker, *arguments: Any, like: torch.Tensor) -> torch.Tensor:
    """What `make` makes of the arguments, as a tensor; made at the first call, nobody may write into it.

    Args:
        make: Makes the numbers.
        arguments: Its arguments, hashable.
        like: A tensor whose device and dtype the result has.

    Returns:
        The tensor. Training may use it whoever asked for it first: validation runs in inference mode.
    """
    found = _kept(make, arguments, like.device, like.dtype)
    if type(found) is not torch.Tensor:  # somebody walks a model without numbers, and this is a stand-in without any
        _kept.cache_clear()
    return found


@lru_cache(maxsize=REMEMBERED)
def _kept(make: Maker, arguments: tuple[Any, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    with torch.inference_mode(False):
        return torch.from_numpy(make(*arguments)).to(device=device, dtype=dtype)
