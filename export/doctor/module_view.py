"""Walks a torch model without numbers: shapes of maps, operations and sizes of tensors, by module."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from lineside.export.cut import cut_tail
from lineside.export.doctor.subject import Pass
from lineside.runtime.errors import LinesideError

__all__ = ["followed", "walk", "without_tail"]


def walk(model: nn.Module, size: tuple[int, int], end2end: bool = False) -> Pass:
    """One forward pass on tensors that have shapes and no values; takes milliseconds, whatever the model costs.

    Args:
        model: An ultralytics model; left as it was.
        size: Height and width of the input in pixels.
        end2end: Walk the one-to-one part of its head.

    Returns:
        What was seen, up to the decode tail (up to the head where that is of an unknown kind); where the model needs
        values, what was seen until then and the reason why it ends there.
    """
    inputs: dict[str, tuple[int, ...]] = {}
    path: list[str] = [""]
    watch = _Watch(path)
    try:
        twin = without_tail(model, size, end2end).eval()
        with followed(twin, inputs, path), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), watch:
            twin(torch.zeros((1, 3, *size)))
    except _Reached:
        pass
    except Exception as error:  # a block can want numbers in any way
        text = (str(error).splitlines() or [type(error).__name__])[0]
        if "local_scalar_dense" in text:
            text = "it takes a number out of a tensor"
        return Pass(inputs, watch.calls, watch.largest, f"{path[-1] or 'model'}: {text[:120]}")
    return Pass(inputs, watch.calls, watch.largest)


class _Reached(Exception):
    """The pass has come to a head that is of no interest."""


class _End(nn.Module):
    """Takes the place of such a head."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.f, self.i = head.f, head.i

    def forward(self, features: Any) -> Any:
        """Ends the pass."""
        raise _Reached


def without_tail(model: nn.Module, size: tuple[int, int], end2end: bool) -> nn.Module:
    """A copy of the model without its decode tail, which wants numbers; without its head where that is unknown."""
    try:
        return cut_tail(model, size, end2end)
    except LinesideError:
        twin = cast(Any, copy.deepcopy(model))
        twin.model[-1] = _End(twin.model[-1])
        return cast(nn.Module, twin)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations, and notes the largest tensor that each module makes.

    Args:
        path: Stack of the modules that are running, kept by `followed`.
    """

    def __init__(self, path: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path = path
        self.calls: dict[str, int] = {}
        self.largest: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        where = self.path[-1]
        self.calls[where] = self.calls.get(where, 0) + 1
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                size = tensor.numel() * tensor.element_size()
                self.largest[where] = max(size, self.largest.get(where, 0))
        return result


@contextlib.contextmanager
def followed(model: nn.Module, inputs: dict[str, tuple[int, ...]], path: list[str]) -> Iterator[None]:
    """Notes what goes into each module, and which one is running.

    Args:
        model: A model, or what is copied from it while this holds.
        inputs: Gets the shape of the first input of each module, by module path.
        path: Stack of the paths of the modules that are running; where one raises, its path stays on top.
    """
    handles = []
    for name, module in model.named_modules():

        def enter(_: nn.Module, given: tuple[Any, ...], name: str = name) -> None:
            path.append(name)
            first = given[0] if given else None
            first = first[0] if isinstance(first, (list, tuple)) and first else first
            if isinstance(first, torch.Tensor):
                inputs.setdefault(name, tuple(first.shape))

        def leave(*_: Any) -> None:
            path.pop()

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(cast(Any, leave))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
