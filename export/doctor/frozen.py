"""Finds where a model takes plain numbers out of what it computes from the picture; a trace writes those down for good."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from lineside.export.doctor.module_view import followed, without_tail

__all__ = ["frozen_numbers"]


def frozen_numbers(model: nn.Module, size: tuple[int, int], end2end: bool = False) -> tuple[str, ...]:
    """Runs a model once, on noise, and watches what becomes of the picture.

    Numbers out of weights and of sizes are the same for every picture and are not meant.

    Args:
        model: An ultralytics model; left as it was.
        size: Height and width of the input in pixels.
        end2end: Run the one-to-one part of its head.

    Returns:
        Paths of the modules with an ``int()``, ``float()``, ``bool()``, ``.item()``, ``.tolist()``, ``.numpy()``, ``if`` or
        ``while`` of a tensor that depends on the picture, as far as the run came.
    """
    path: list[str] = [""]
    picture = torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(0))
    watch = _Watch(path, picture)
    with contextlib.suppress(Exception), torch.no_grad():  # an end as the first pass came to
        twin = without_tail(model, size, end2end).eval()
        with followed(twin, {}, path), _Arrays(watch), watch:
            twin(picture)
    return tuple(watch.found)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows what is computed from one tensor.

    Args:
        path: Stack of the modules that are running.
        source: The tensor.
    """

    def __init__(self, path: list[str], source: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path = path
        self.found: dict[str, None] = {}
        self.touched = WeakIdKeyDictionary()
        self.touched[source] = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [it for it in tree_leaves((args, kwargs)) if isinstance(it, torch.Tensor)]
        result = func(*args, **(kwargs or {}))
        if any(it in self.touched for it in given):
            if func is torch.ops.aten._local_scalar_dense.default:
                self.found[self.path[-1] or "model"] = None
            for it in tree_leaves(result):
                if isinstance(it, torch.Tensor):
                    self.touched[it] = True
        return result


class _Arrays(TorchFunctionMode):
    """Notes arrays of numpy that are made of what another watch follows: no operator of torch tells of them.

    Args:
        watch: The other watch.
    """

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and args[0] in self.watch.touched:
            self.watch.found[self.watch.path[-1] or "model"] = None
        return func(*args, **(kwargs or {}))
