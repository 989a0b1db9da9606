"""What torch itself makes of a picture: the whole model, its own decode tail, nothing of what ships."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lineside.export.heads import END2END_ROWS, Head, find_head
from lineside.export.parity.letterbox import Placement, letterboxed, place

__all__ = ["Reference", "Seen", "TorchReference", "to_picture"]

Array = npt.NDArray[Any]

SPARE_ROWS = 32
"""Rows of a one-to-one part beyond those of the graph: at the end of the list two near-ties may take each other's place."""


@dataclass(frozen=True)
class Seen:
    """One picture as torch sees it; every anchor, whatever its score.

    Attributes:
        placement: Where the picture lies in the input.
        pixels: Input ``(h, w, 3)`` uint8 RGB.
        raw: Outputs by the names of the head contract, float32: of each convolution stack ``(1, channels, h, w)``, or
            the rows of an end-to-end head ``(1, K, 6 + coefficients)``.
        input_boxes: ``(A, 4)`` float64 xyxy in input pixels, not clipped.
        boxes: ``(A, 4)`` float64 xyxy in picture pixels, clipped to the picture.
        scores: ``(A, classes)`` float64 probabilities.
        coefficients: ``(A, coefficients)`` float32.
        protos: ``(coefficients, h/4, w/4)`` float32; without coefficients, no cells.
        final: The rows are detections already, so nothing is suppressed (an end-to-end head).
    """

    placement: Placement
    pixels: npt.NDArray[np.uint8]
    raw: dict[str, npt.NDArray[np.float32]]
    input_boxes: torch.Tensor
    boxes: torch.Tensor
    scores: torch.Tensor
    coefficients: torch.Tensor
    protos: torch.Tensor
    final: bool = False


class Reference(Protocol):
    """Whatever a bundle is compared with."""

    def __call__(self, frame: npt.NDArray[np.uint8]) -> Seen:
        """Looks at one picture ``(H, W, 3)`` uint8 BGR."""


class TorchReference:
    """A torch model, run as ultralytics runs it in evaluation.

    Args:
        model: The model that the bundle must agree with; left as it was.
        input_size: Height and width of the input in pixels.
        end2end: Run the one-to-one part of the head instead of its one-to-many part.

    Raises:
        ExportError: The head is of a kind that export does not know, or has no such part.
    """

    def __init__(self, model: nn.Module, input_size: tuple[int, int], end2end: bool = False) -> None:
        self._model = cast(Any, copy.deepcopy(model)).eval()
        self._head = find_head(self._model, input_size, end2end)
        head = self._model.model[-1]
        if getattr(head, "end2end", end2end) != end2end:
            head.end2end = end2end
        head.max_det = END2END_ROWS + SPARE_ROWS
        self._input_size = input_size
        self._end2end = end2end

    def __call__(self, frame: npt.NDArray[np.uint8]) -> Seen:
        """Looks at one picture.

        Args:
            frame: Picture ``(H, W, 3)`` uint8 BGR.
        """
        placement = place((frame.shape[0], frame.shape[1]), self._input_size)
        return self.look(letterboxed(frame, placement), placement)

    def look(self, pixels: npt.NDArray[np.uint8], placement: Placement) -> Seen:
        """Looks at a letterboxed picture.

        Args:
            pixels: Input ``(h, w, 3)`` uint8 RGB.
            placement: Where the picture lies in it.
        """
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().div(255)[None]
        with torch.inference_mode(), _tapped(self._head) as raw:
            output = self._model(tensor)
        rows, protos = output[0] if self._head.protos is not None else (output[0], torch.zeros(1, 0, 0, 0))
        if self._end2end:
            return self._picked(rows[0].clone(), protos.clone(), pixels, placement)
        columns = rows[0].clone().T
        classes = self._head.contract.classes
        xywh = columns[:, :4].double()
        input_boxes = torch.cat([xywh[:, :2] - xywh[:, 2:] / 2, xywh[:, :2] + xywh[:, 2:] / 2], 1)
        return Seen(
            placement=placement,
            pixels=pixels,
            raw=raw,
            input_boxes=input_boxes,
            boxes=to_picture(input_boxes, placement),
            scores=columns[:, 4 : 4 + classes].double(),
            coefficients=columns[:, 4 + classes :],
            protos=protos[0].clone(),
        )

    def _picked(
        self, rows: torch.Tensor, protos: torch.Tensor, pixels: npt.NDArray[np.uint8], placement: Placement
    ) -> Seen:
        """What the one-to-one part picked, rows ``(K, 6 + coefficients)`` by falling score."""
        scores = torch.zeros(len(rows), self._head.contract.classes, dtype=torch.float64)
        scores[torch.arange(len(rows)), rows[:, 5].long()] = rows[:, 4].double()
        tensors = {"output0": rows[None, :END2END_ROWS].numpy(), "protos": protos.numpy()}
        return Seen(
            placement=placement,
            pixels=pixels,
            raw={name: tensors[name] for name in self._head.contract.output_names},
            input_boxes=rows[:, :4].double(),
            boxes=to_picture(rows[:, :4].double(), placement),
            scores=scores,
            coefficients=rows[:, 6:],
            protos=protos[0],
            final=True,
        )


def to_picture(boxes: torch.Tensor, at: Placement) -> torch.Tensor:
    """Takes boxes from the input to the picture.

    Args:
        boxes: ``(N, 4)`` float64 xyxy in input pixels.
        at: Where the picture lies in the input.

    Returns:
        ``(N, 4)`` float64 xyxy in picture pixels, clipped to the picture.
    """
    gx, gy = at.gain
    shift = torch.tensor([at.left, at.top, at.left, at.top], dtype=torch.float64)
    gain = torch.tensor([gx, gy, gx, gy], dtype=torch.float64)
    height, width = at.image_size
    limit = torch.tensor([width, height, width, height], dtype=torch.float64)
    return torch.minimum(((boxes - shift) / gain).clamp(min=0), limit)


@contextmanager
def _tapped(head: Head) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Collects what the convolution stacks of a head put out while the model runs, in the order of the contract."""
    names = head.contract.output_names
    if head.contract.kind == "end2end":  # its outputs are results, not stacks
        yield {}
        return
    found: dict[str, npt.NDArray[np.float32]] = dict.fromkeys(names, np.empty(0, np.float32))
    modules = [*head.stacks, *(part for part in (head.protos, head.focus) if part is not None)]

    def tap(name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            if module is head.focus and output.shape[1] == 2:  # two logits, of which the difference is put out
                output = output[:, 1:] - output[:, :1]
            found[name] = output.detach().clone().numpy()

        return keep

    handles = [module.register_forward_hook(tap(name)) for name, module in zip(names, modules, strict=True)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
