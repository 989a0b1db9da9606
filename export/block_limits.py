"""What blocks of a model say against an export: input sizes that have to be fixed, or are too large for them.

A block speaks by what it carries, so this knows none by name:

- ``lineside_static``: a class attribute, the reason why a graph of the block is good for one input size only;
- ``lineside_limit(height, width)``: a method that says why the block cannot be exported for a map of that size, or None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from lineside.runtime.errors import BadOption, ExportError

__all__ = ["refuse_free_size", "refuse_large_maps", "static_blocks"]


def static_blocks(model: nn.Module) -> dict[str, str]:
    """Paths of the blocks whose graph is good for one input size only, and why; in the order of the model."""
    return {
        path: str(reason)
        for path, block in model.named_modules()
        if (reason := getattr(block, "lineside_static", None)) is not None
    }


def refuse_free_size(model: nn.Module) -> None:
    """Refuses a dynamic export of a model that has blocks for one input size.

    Args:
        model: The model.

    Raises:
        BadOption: It has such a block.
    """
    found = static_blocks(model)
    if not found:
        return
    path, reason = next(iter(found.items()))
    others = f", and so is that of {len(found) - 1} more" if len(found) > 1 else ""
    kind = type(model.get_submodule(path)).__name__
    raise BadOption(
        f"the graph of {path} ({kind}) is good for one input size only{others}: {reason}. Leave out --dynamic, and "
        "export once for each --imgsz"
    )


def refuse_large_maps(model: nn.Module, size: tuple[int, int]) -> None:
    """Refuses the export of a model for an input that makes the map of one of its blocks too large for it.

    Sends an empty picture through the model, and stops it in front of such a block; a model whose blocks set no limit is
    not run at all.

    Args:
        model: An ultralytics model.
        size: Height and width of the input in pixels.

    Raises:
        ExportError: A block says so.
    """
    limits = {path: block for path, block in model.named_modules() if hasattr(block, "lineside_limit")}
    if not limits:
        return
    was_training = model.training
    hooks = [block.register_forward_pre_hook(_guard(path, size)) for path, block in limits.items()]
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, *size))
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)


def _guard(path: str, size: tuple[int, int]) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    """What looks at the map before a block takes it; the channels come last."""

    def look(block: nn.Module, inputs: tuple[Any, ...]) -> None:
        height, width = inputs[0].shape[1:3]
        reason = cast(Any, block).lineside_limit(int(height), int(width))
        if reason is not None:
            raise ExportError(f"at an input of {size[0]}x{size[1]}, {path} ({type(block).__name__}) {reason}")

    return look
