"""From a model's raw outputs to detections in picture pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lineside.runtime import _native
from lineside.runtime.contract import HeadContract, TensorShape
from lineside.runtime.detections import Detections
from lineside.runtime.errors import BadOption, ContractMismatch, NonFiniteOutput
from lineside.runtime.geometry import Letterbox
from lineside.runtime.masks import Masks

__all__ = ["Postprocessor", "check_options", "decode"]

MASK_MODES = {"none": 0, "native": 1, "proto": 2}
"""What ``masks`` may be, and the number by which the native core knows it."""


def decode(
    outputs: Sequence[npt.NDArray[Any]],
    head: HeadContract,
    box: Letterbox,
    conf: float = 0.25,
    iou: float = 0.7,
    max_det: int = 300,
    masks: str = "native",
    agnostic: bool = False,
    names: Sequence[str] | None = None,
) -> Detections:
    """Decodes the raw outputs of one picture.

    Keeps anchors whose best class has ``float32 score > conf`` (the lowest class on a tie), suppresses boxes of the
    same class whose IoU with a better one is above ``iou`` (an end-to-end head needs none), and keeps the ``max_det``
    best. Boxes and IoU are float32 in input pixels, not clipped; equal scores go by the lower anchor.

    Args:
        outputs: The tensors that ``head`` describes, in its order, batch 1, floating point.
        head: The head contract of the model.
        box: How the picture lies in the input.
        conf: Confidence that a score must exceed, in [0, 1).
        iou: Overlap above which the lesser of two boxes is dropped, in [0, 1].
        max_det: At most so many detections, from 1.
        masks: ``native`` (picture resolution), ``proto`` (prototype resolution, nearest to the picture) or ``none``.
        agnostic: Boxes of different classes suppress each other too.
        names: Class names; None: ``"0"``, ``"1"``, ...

    Returns:
        The detections, best first.

    Raises:
        BadOption: An option is out of its range, or ``box`` was made for another input size.
        ContractMismatch: An output's shape or a class index does not fit ``head``.
        NonFiniteOutput: A class score, a candidate's box or a detection's mask is NaN or infinite. A class score of
            minus infinity is none: it is below every threshold.
    """
    return _postprocessor(head).run(
        outputs, box, conf=conf, iou=iou, max_det=max_det, masks=masks, agnostic=agnostic, names=names
    )


class Postprocessor:
    """Decodes the outputs of one head, frame after frame, with scratch memory that it keeps.

    Threads may share one (they take turns); for speed give each its own.

    Args:
        head: The head contract of the model.
    """

    def __init__(self, head: HeadContract) -> None:
        self.head = head
        self._names = tuple(str(i) for i in range(head.classes))
        # A focus map is the last output, and nothing here reads it.
        self._read = list(zip(head.output_names, head.output_shapes(), strict=True))[: -1 if head.focus else None]
        self._decoder = _native.Decoder(
            head.kind, head.classes, head.coefficients, *head.input_size, list(head.strides), head.reg_max
        )

    def run(
        self,
        outputs: Sequence[npt.NDArray[Any]],
        box: Letterbox,
        *,
        conf: float = 0.25,
        iou: float = 0.7,
        max_det: int = 300,
        masks: str = "native",
        agnostic: bool = False,
        names: Sequence[str] | None = None,
    ) -> Detections:
        """Decodes the outputs of one picture; arguments, result and errors as for :func:`decode`."""
        check_options(conf, iou, max_det, masks)
        if box.input_size != tuple(self.head.input_size):
            raise BadOption(
                f"a letterbox into {box.input_size} (H, W) cannot place what a model with input "
                f"{tuple(self.head.input_size)} found: fit it to the model's input size"
            )
        label = self._names if names is None else tuple(names)
        if len(label) != self.head.classes:
            raise BadOption(f"{len(label)} names for a model of {self.head.classes} classes: give one name per class")
        tensors = self._tensors(outputs)
        try:
            boxes, scores, classes, anchors, spans, offsets = self._decoder.run(
                tensors, float(conf), float(iou), min(int(max_det), 2**62), bool(agnostic),
                *box.image_size, *box.scale_xy, *box.pad,
                *box.content_size, MASK_MODES[masks],
            )  # fmt: skip
        except _native.NonFinite as error:
            raise NonFiniteOutput(
                f"the model's output cannot be trusted: {error}. The weights or the precision of this variant are "
                "broken, or the input was: verify the bundle, or load another variant"
            ) from None
        except _native.OutOfContract as error:
            raise ContractMismatch(
                f"the model's output does not fit its head contract: {error}; export the model again"
            ) from None
        for array in (boxes, scores, classes, anchors):
            array.setflags(write=False)
        return Detections(
            boxes=boxes,
            scores=scores,
            classes=classes,
            anchors=anchors,
            masks=_masks_of(spans, offsets, box.image_size),
            names=label,
            image_size=box.image_size,
        )

    def _tensors(self, outputs: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[np.float32]]:
        """The outputs as contiguous float32, their number and shapes checked."""
        names = self.head.output_names
        if len(outputs) != len(names):
            raise ContractMismatch(
                f"the model gave {len(outputs)} outputs where its head contract ({self.head.kind}) names {len(names)}: "
                f"{', '.join(names)}"
            )
        tensors = []
        for (name, want), output in zip(self._read, outputs, strict=False):
            array = np.asarray(output)
            if array.dtype.kind != "f" or not _fits(array.shape, want):
                wanted = ", ".join("any" if side is None else str(side) for side in want)
                raise ContractMismatch(
                    f"output {name} is {array.dtype} of shape {array.shape}, but the head contract "
                    f"({self.head.kind}) wants floats of shape ({wanted}): the contract belongs to another model"
                )
            tensors.append(np.ascontiguousarray(array, dtype=np.float32))
        return tensors


@lru_cache(maxsize=16)
def _postprocessor(head: HeadContract) -> Postprocessor:
    return Postprocessor(head)


def _fits(shape: TensorShape, want: tuple[int | None, ...]) -> bool:
    return len(shape) == len(want) and all(w is None or s == w for s, w in zip(shape, want, strict=True))


def check_options(conf: float, iou: float, max_det: int, masks: str) -> None:
    """Checks the options of a call.

    Args:
        conf: Confidence that a score must exceed.
        iou: Overlap above which the lesser of two boxes is dropped.
        max_det: Largest number of detections.
        masks: How masks are made.

    Raises:
        BadOption: One of them is out of its range.
    """
    if not _is_number(conf) or not 0 <= conf < 1:
        raise BadOption(f"conf={conf!r}: a confidence threshold is a number in [0, 1)")
    if not _is_number(iou) or not 0 <= iou <= 1:
        raise BadOption(f"iou={iou!r}: an overlap threshold is a number in [0, 1]")
    if not isinstance(max_det, (int, np.integer)) or isinstance(max_det, bool) or max_det < 1:
        raise BadOption(f"max_det={max_det!r}: the largest number of detections is a whole number from 1")
    if not isinstance(masks, str) or masks not in MASK_MODES:
        raise BadOption(f"masks={masks!r}: choose one of {', '.join(sorted(MASK_MODES))}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _masks_of(
    spans: npt.NDArray[np.int32] | None, offsets: npt.NDArray[np.int64] | None, image_size: tuple[int, int]
) -> Masks | None:
    if spans is None or offsets is None:
        return None
    spans.setflags(write=False)
    offsets.setflags(write=False)
    return Masks(spans, offsets, image_size)
