"""A YOLO segmentation head with a FocusPixel branch, trained together with the rest.

Row: ``[[P3, P4, P5], 1, Segment_Focus, [nc, nm, npr, {a: 5, b: 64, c: 90, reference: 512, gain: 1}]]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import torch
from ultralytics.nn.modules.head import Segment

from lineside.export.modules.focus import FocusPixel, focus_loss, focus_targets
from lineside.export.yolo.fine_masks import segmentation_loss
from lineside.runtime.focus import REFERENCE_SIDE, STRIDE, FocusSizes

__all__ = ["FocusLoss", "Segment_Focus"]

Batch = Mapping[str, torch.Tensor]


class Segment_Focus(Segment):  # noqa: N801 - the name in model yamls
    """Segment with a branch that says for each cell of P4 (stride 16) whether a small object lies there.

    The sizes are those of `FocusSizes`, in pixels of the network's input, as they stand for inputs whose longer side is
    at least ``reference``; for smaller ones they shrink with it (see `FocusSizes.at`).

    Args:
        nc: Number of classes.
        nm: Number of mask coefficients.
        npr: Channels within the prototype branch.
        reg_max: Bins of the box distribution.
        end2end: Whether the head has a one-to-one part.
        ch: Channels of P3, P4 and P5.
        a: Objects up to this size are ignored.
        b: Below this they are FocusPixels.
        c: Below this they are ignored, from here on they are nothing.
        reference: Longer side from which on the sizes are as stated, px; 0: always.
        gain: Weight of the branch's loss beside those of boxes, classes and masks.

    Raises:
        BadOption: Not ``0 <= a < b <= c``.
    """

    focus_level = 1
    """Which of the inputs the branch reads: P4, whose stride is that of the focus map."""

    def __init__(
        self,
        nc: int = 80,
        nm: int = 32,
        npr: int = 256,
        reg_max: int = 16,
        end2end: bool = False,
        ch: Sequence[int] = (),
        a: float = 5.0,
        b: float = 64.0,
        c: float = 90.0,
        reference: float = REFERENCE_SIDE,
        gain: float = 1.0,
    ) -> None:
        super().__init__(nc, nm, npr, reg_max, end2end, ch)
        FocusSizes(a, b, c)  # says what is wrong with them
        self.focus = FocusPixel(ch[self.focus_level])
        self.sizes, self.reference, self.gain = (float(a), float(b), float(c)), float(reference), float(gain)

    def forward(self, x: list[torch.Tensor]) -> Any:
        """Outputs of ``Segment``; the dict of raw predictions holds ``focus``, ``(B, 2, h, w)`` logits, as well."""
        outputs = super().forward(x)
        raw = raw_predictions(outputs)
        if raw is not None:
            raw["focus"] = self.focus(x[self.focus_level])
        return outputs

    def targets(self, batch: Batch, logits: torch.Tensor) -> torch.Tensor:
        """What the branch is taught in a batch of ultralytics' loader.

        Args:
            batch: ``bboxes`` ``(N, 4)`` xywh from 0 to 1, and ``batch_idx`` ``(N,)``.
            logits: Output of the branch.

        Returns:
            ``(B, h, w)``, see `lineside.export.modules.focus.focus_targets`.
        """
        pictures, _, rows, columns = logits.shape
        size = (rows * STRIDE, columns * STRIDE)
        box = batch["bboxes"].to(logits.device).float().view(-1, 4)
        corners = torch.cat([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], 1)
        pixels = corners * corners.new_tensor([size[1], size[0], size[1], size[0]])
        sizes = FocusSizes(*self.sizes).at(size, self.reference)
        return focus_targets(pixels, batch["batch_idx"], pictures, (rows, columns), sizes)

    def criterion(self, model: Any) -> FocusLoss:
        """The loss of a model with this head; asked for by `lineside.export.yolo.register`."""
        return FocusLoss(model, self)

    def validator(self, trainer: Any) -> Any:
        """A validator for a training that also counts FocusPixels; asked for by `lineside.export.yolo.register`."""
        from lineside.export.yolo.focus_validation import FocusValidator

        return FocusValidator(
            self,
            trainer.test_loader,
            save_dir=trainer.save_dir,
            args=copy(trainer.args),
            _callbacks=trainer.callbacks,
        )


class FocusLoss:
    """The segmentation loss of the model, and that of the FocusPixel branch as one more item.

    Args:
        model: The model, not wrapped for several GPUs.
        head: Its head.
    """

    def __init__(self, model: Any, head: Segment_Focus) -> None:
        self.segmentation: Any = segmentation_loss(model)
        self.head = head
        if hasattr(self.segmentation, "update"):
            self.update = self.segmentation.update  # called after each epoch where it is there

    def __call__(self, preds: Any, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The items of the loss, times the number of pictures; and each by its name, for people."""
        loss, items = self.segmentation(preds, batch)
        logits = (raw_predictions(preds) or {})["focus"]
        focus = focus_loss(logits, self.head.targets(batch, logits)) * self.head.gain
        return torch.cat([loss, (focus * len(logits))[None]]), {**items, "focus_loss": focus.detach()}


def raw_predictions(outputs: Any) -> dict[str, Any] | None:
    """The dict of raw predictions among the outputs of a model; None in export mode, where there is none."""
    last = outputs[-1] if isinstance(outputs, (tuple, list)) else outputs
    return last if isinstance(last, dict) else None
