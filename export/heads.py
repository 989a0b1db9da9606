"""Reads the head of a YOLO model by its structure and gives it outputs without the decode tail.

A YOLO head ends in convolutions, one stack per level and purpose, and a tail that turns their outputs into boxes and
probabilities for every anchor. The tail (softmax over the distance bins, box arithmetic, sigmoid, concatenation) is
cheaper in native code, for survivors only, so our graphs stop in front of it: head contract ``levels``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from lineside.runtime.contract import HeadContract
from lineside.runtime.errors import BadOption, ExportError

__all__ = ["END2END_ROWS", "Head", "LevelsHead", "find_head", "supported_heads", "unknown_head"]

PROTO_STRIDE = 4
"""Pixels of the input per prototype cell in the bundle format; the prototype branch doubles the finest level once."""

END2END_ROWS = 300
"""Rows that an end-to-end graph puts out (fewer where the input has fewer anchors): the most detections of a picture."""


@dataclass(frozen=True)
class _Form:
    """What sets one class of heads apart: masks, and prototypes made of all levels instead of the finest one."""

    masks: bool
    protos_from_all: bool = False


_FORMS = {
    "Segment": _Form(masks=True),
    "Segment26": _Form(masks=True, protos_from_all=True),
    "Segment_Focus": _Form(masks=True),
    "Segment_DyHead": _Form(masks=True),
    "Detect": _Form(masks=False),
    "v10Detect": _Form(masks=False),
}
"""Head classes that we cut."""


@dataclass(frozen=True)
class Head:
    """What the head of a model is made of.

    Attributes:
        module: The head itself, last layer of the model.
        boxes: One stack per level, ``(batch, 4 * reg_max, h, w)``.
        scores: One stack per level, ``(batch, classes, h, w)`` logits.
        coefficients: One stack per level, ``(batch, coefficients, h, w)``; None for a model without masks.
        protos: Makes the prototypes; None for a model without masks.
        protos_from_all: The prototypes take the list of all levels, not the finest level alone.
        contract: Layout of the outputs for one input size.
        focus: Says of each cell of one level whether a small object lies there, ``(batch, 2, h, w)`` logits or, in its
            deploy form, ``(batch, 1, h, w)``; None for a model that does not.
    """

    module: nn.Module
    boxes: nn.ModuleList
    scores: nn.ModuleList
    coefficients: nn.ModuleList | None
    protos: nn.Module | None
    protos_from_all: bool
    contract: HeadContract
    focus: nn.Module | None = None

    @property
    def stacks(self) -> list[nn.Module]:
        """Every stack in the order of the outputs of the contract ``levels``, without the prototypes."""
        purposes = [self.boxes, self.scores, *([self.coefficients] if self.coefficients is not None else [])]
        return [stack for level in zip(*purposes, strict=True) for stack in level]


class LevelsHead(nn.Module):
    """Takes the place of a head: the same convolutions, their outputs untouched.

    A head may have a method ``towers(features)``: its stacks read what that returns, a list of one tensor per level. The
    prototypes always read the features themselves.

    Args:
        head: The head to take over.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.stacks = nn.ModuleList(head.stacks)
        self.per_level = len(head.stacks) // len(head.contract.strides)
        self.protos, self.protos_from_all = head.protos, head.protos_from_all
        self.head = head.module if hasattr(head.module, "towers") else None
        self.focus, self.focus_level = _one_logit(head.focus), 0
        if head.focus is not None:
            self.focus_level = head.contract.strides.index(head.contract.focus)
        # ultralytics walks the layers by these two marks: which layers feed this one, and its own number.
        self.f, self.i = head.module.f, head.module.i

    def forward(self, features: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Outputs in the order of the contract: box, cls and mc of each level, the prototypes, the focus map."""
        levels = features if self.head is None else cast(Any, self.head).towers(features)
        outputs = [stack(levels[index // self.per_level]) for index, stack in enumerate(self.stacks)]
        if self.protos is not None:
            outputs.append(self.protos(features if self.protos_from_all else features[0]))
        if self.focus is not None:
            outputs.append(self.focus(features[self.focus_level]))
        return tuple(outputs)


def supported_heads() -> tuple[str, ...]:
    """Names of the head classes that export knows."""
    return tuple(_FORMS)


def unknown_head(kind: str) -> str:
    """Says of a head class that export does not know what it is and what to do: the second half of a sentence."""
    if kind.startswith(("YOLOE", "World")):
        return (
            f"the open-vocabulary head {kind}, whose classes are texts that a language model reads, and a bundle holds "
            "none: set its classes in ultralytics, export it to ONNX there and use `lineside import`, or train a "
            "*-seg model on your classes"
        )
    return (
        f"a head of class {kind}, and export knows {', '.join(_FORMS)}: "
        "train a *-seg model, or export it to ONNX with its own tool and use `lineside import`"
    )


def find_head(model: nn.Module, input_size: tuple[int, int], end2end: bool = False) -> Head:
    """Finds the head of a model and describes it.

    Args:
        model: An ultralytics model; its layers are in ``model.model``, the head last.
        input_size: Height and width of the input in pixels.
        end2end: Take the one-to-one part, whose detections need no suppression, instead of the one-to-many part.

    Returns:
        The head; its contract is of kind ``levels``, or ``end2end`` for the one-to-one part.

    Raises:
        ExportError: The head is of a kind that export does not know, is not built as its kind is, or has no
            one-to-one part where that is asked for.
        BadOption: The input size does not fit the strides.
    """
    layers = getattr(model, "model", None)
    if not isinstance(layers, nn.Sequential) or not len(layers):
        raise ExportError(
            f"the model is a {type(model).__name__} without a list of layers: give an ultralytics YOLO model"
        )
    module = layers[-1]
    kind = type(module).__name__
    form = _FORMS.get(kind)
    if form is None:
        raise ExportError(f"the model ends in {unknown_head(kind)}")
    if end2end and not isinstance(getattr(module, "one2one_cv2", None), nn.ModuleList):
        raise ExportError(
            f"the {kind} head has no one-to-one part, so it cannot be exported end to end: leave out --end2end, or "
            "train a model that has one, such as YOLO26"
        )
    purposes = ("cv2", "cv3", *(("cv4",) if form.masks else ()))
    lists = [_stacks(module, f"one2one_{name}" if end2end else name) for name in purposes]
    focus, strides = _focus(module, end2end), _strides(module)
    _check_size(input_size, max(strides))
    contract = HeadContract(
        kind="end2end" if end2end else "levels",
        classes=_count(module, "nc"),
        coefficients=_count(module, "nm") if form.masks else 0,
        input_size=input_size,
        strides=strides,
        reg_max=_count(module, "reg_max"),
        focus=strides[_count(module, "focus_level")] if focus is not None else 0,
    )
    if any(len(stacks) != len(contract.strides) for stacks in lists):
        raise ExportError(
            f"the {kind} head has {[len(stacks) for stacks in lists]} branches for {len(contract.strides)} strides: "
            "the model is damaged, train it again"
        )
    return Head(
        module,
        boxes=lists[0],
        scores=lists[1],
        coefficients=lists[2] if form.masks else None,
        protos=_protos(module, contract) if form.masks else None,
        protos_from_all=form.protos_from_all,
        contract=contract,
        focus=focus,
    )


def _check_size(input_size: tuple[int, int], stride: int) -> None:
    """Raises BadOption for an input that the greatest stride does not divide."""
    if any(side % stride for side in input_size):
        fitting = "x".join(str(-(-side // stride) * stride) for side in input_size)
        raise BadOption(
            f"an input of {'x'.join(map(str, input_size))} (HxW) does not fit this model: both sides must be multiples of "
            f"{stride}, its greatest stride. Take --imgsz {fitting}"
        )


def _focus(module: nn.Module, end2end: bool) -> nn.Module | None:
    """The FocusPixel branch; an end-to-end graph has no place for it."""
    focus = getattr(module, "focus", None)
    if not isinstance(focus, nn.Module):
        return None
    if end2end:
        raise ExportError(
            f"the {type(module).__name__} head has a focus map, which an end-to-end graph cannot put out: leave out "
            "--end2end"
        )
    return focus


def _one_logit(focus: nn.Module | None) -> nn.Module | None:
    """A FocusPixel branch with one output per cell, the logit of focus."""
    deployed = getattr(focus, "deployed", None)
    return cast(nn.Module, deployed()) if callable(deployed) else focus


def _protos(module: nn.Module, contract: HeadContract) -> nn.Module:
    """The branch that makes the prototypes."""
    protos = getattr(module, "proto", None)
    if not isinstance(protos, nn.Module):
        raise ExportError(
            f"the {type(module).__name__} head has no prototype branch 'proto': the model is damaged, train it again"
        )
    if contract.strides[0] != PROTO_STRIDE * 2:
        raise ExportError(
            f"the finest level of the model has stride {contract.strides[0]}, so its prototypes have "
            f"{contract.strides[0] // 2} pixels per cell, and the bundle format has {PROTO_STRIDE}: "
            "use a *-seg model whose finest level is P3 (stride 8)"
        )
    return protos


def _stacks(module: nn.Module, name: str) -> nn.ModuleList:
    """The convolution stacks of that name, one per level."""
    stacks = getattr(module, name, None)
    if not isinstance(stacks, nn.ModuleList):
        raise ExportError(
            f"the {type(module).__name__} head has no branches '{name}' (found {type(stacks).__name__}): only its "
            "one-to-one part is left, so export with --end2end, or from the checkpoint before it was fused"
        )
    return stacks


def _count(module: nn.Module, name: str) -> int:
    """A whole number that the head carries."""
    value = cast(Any, getattr(module, name, None))
    if not isinstance(value, int):
        raise ExportError(f"the {type(module).__name__} head does not say its '{name}': the model is damaged")
    return value


def _strides(module: nn.Module) -> tuple[int, ...]:
    """Pixels per cell of each level."""
    values: Sequence[float] = [float(s) for s in cast(Any, getattr(module, "stride", ()))]
    if not values or any(s < 1 or s != int(s) for s in values):
        raise ExportError(
            f"the {type(module).__name__} head has strides {list(values)}: the model was never built to its end"
        )
    return tuple(int(s) for s in values)
