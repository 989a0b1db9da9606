"""Prepares a torch model for its way into a graph: BatchNorm folded, weights rounded, decode tail cut off."""

from __future__ import annotations

import copy
from typing import Any, Literal, cast

import torch
from torch import nn

from lineside.export.heads import END2END_ROWS, LevelsHead, find_head

__all__ = ["FP16_MIN_ELEMENTS", "WeightsStorage", "cut_tail", "fused", "put_deploy_forms", "rounded_to_fp16"]

WeightsStorage = Literal["fp32", "fp16"]

FP16_MIN_ELEMENTS = 256
"""Parameters with fewer elements keep float32: they are biases, where a bit counts and the space does not."""


def fused(model: nn.Module, end2end: bool = False) -> nn.Module:
    """A copy of the model with every BatchNorm folded into its convolution, and every block in its deploy form.

    A module that has a method ``deployed() -> nn.Module`` is trained in one form and run in another of the same
    function: what the method returns takes its place.

    A block of the user's own that is a ``Conv`` by inheritance and computes something else keeps its BatchNorm: folding
    would put the computation of ``Conv`` in the place of its own.

    Args:
        model: An ultralytics model; left as it was.
        end2end: Where the head has two parts, keep the one-to-one part instead of the one-to-many part.

    Returns:
        The copy, in eval mode.
    """
    twin = cast(Any, copy.deepcopy(model)).eval()
    head = twin.model[-1]
    if getattr(head, "end2end", end2end) != end2end:
        head.end2end = end2end
    put_deploy_forms(twin)
    own = [(layer, layer.bn) for layer in twin.modules() if _computes_otherwise(layer)]
    for layer, _ in own:
        del layer.bn  # what ultralytics recognises a layer by that it has not folded yet
    folded = cast(nn.Module, twin.fuse(verbose=False))
    for layer, norm in own:
        layer.bn = norm
    return folded


_MARKS = ("i", "f", "type", "np")
"""What ultralytics writes onto a layer of a model: number, inputs, class and parameters."""


def put_deploy_forms(model: nn.Module) -> None:
    """Replaces every module inside a model that has a deploy form by that form.

    Args:
        model: Any module; changed in place.
    """
    for name, child in list(model.named_children()):
        deployed = getattr(child, "deployed", None)
        if not callable(deployed):
            put_deploy_forms(child)
            continue
        form = deployed()
        for mark in _MARKS:
            if hasattr(child, mark):
                setattr(form, mark, getattr(child, mark))
        setattr(model, name, form.train(child.training))


def _computes_otherwise(layer: nn.Module) -> bool:
    """Whether a layer would be taken for a ``Conv`` of ultralytics with a BatchNorm to fold, and is none."""
    from ultralytics.nn.modules import conv

    if not isinstance(layer, (conv.Conv, conv.ConvTranspose)) or not hasattr(layer, "bn"):
        return False
    known = (vars(kind).get("forward") for kind in vars(conv).values() if isinstance(kind, type))
    return not any(type(layer).forward is forward for forward in known)


def rounded_to_fp16(model: nn.Module) -> nn.Module:
    """A copy of the model whose large parameters are rounded to the nearest FP16 number and kept as float32.

    A graph made from the copy can store those parameters as FP16 without any further loss, so rounding is the only
    difference between such a bundle and its weights, and parity is measured against this very copy.

    Args:
        model: A fused model; left as it was.

    Returns:
        The copy. A parameter with values beyond the range of FP16 (65504), or with fewer than `FP16_MIN_ELEMENTS`
        elements, is not rounded.
    """
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            half = parameter.half()
            if parameter.numel() >= FP16_MIN_ELEMENTS and bool(torch.isfinite(half).all()):
                parameter.copy_(half.float())
    return twin


def cut_tail(model: nn.Module, input_size: tuple[int, int], end2end: bool = False) -> nn.Module:
    """A copy of the model that ends in front of its decode tail, or behind the selection of its one-to-one part.

    Args:
        model: An ultralytics model; left as it was.
        input_size: Height and width of the input in pixels.
        end2end: Keep the tail of the one-to-one part, which picks the best `END2END_ROWS` rows.

    Returns:
        A model with the outputs of head contract ``levels`` or ``end2end``.

    Raises:
        ExportError: The head is of a kind that export does not know, or has no such part.
    """
    twin = cast(Any, copy.deepcopy(model))
    head = find_head(twin, input_size, end2end)
    if end2end:
        twin.model[-1].end2end, twin.model[-1].max_det = True, END2END_ROWS
        twin.model[-1].export, twin.model[-1].format = True, "onnx"  # the marks by which it gives its result alone
    else:
        twin.model[-1] = LevelsHead(head)
    return cast(nn.Module, twin.eval())
