"""Validation that says how well the FocusPixel branch does, beside boxes and masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed
from ultralytics.models.yolo.segment import SegmentationValidator

from lineside.export.modules.focus import FocusCounts, count_focus
from lineside.export.yolo.focus import Segment_Focus, raw_predictions

__all__ = ["FOCUS_METRICS", "FocusValidator"]

FOCUS_METRICS = ("metrics/precision(F)", "metrics/recall(F)")
"""Names of the figures, after the pattern of ultralytics' ``(B)`` for boxes and ``(M)`` for masks."""


class FocusValidator(SegmentationValidator):
    """ultralytics' validator, and precision and recall of the cells of the focus map at probability 0.5.

    Args:
        head: The head whose labels are compared; only its settings are used.
        given: Arguments of ``SegmentationValidator``.
        named: The same by name.
    """

    own_metrics = FOCUS_METRICS
    """Names of the figures that ultralytics' validator does not have."""

    def __init__(self, head: Segment_Focus, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head = head
        self._logits: torch.Tensor | None = None
        self.focus = FocusCounts()

    def init_metrics(self, model: Any) -> None:
        """Begins a validation."""
        super().init_metrics(model)
        self.focus = FocusCounts()

    def postprocess(self, preds: Any) -> Any:
        """Keeps the focus map of a batch until its labels are at hand."""
        self._logits = (raw_predictions(preds) or {}).get("focus")
        return super().postprocess(preds)

    def update_metrics(self, preds: Any, batch: Any) -> None:
        """Counts a batch."""
        super().update_metrics(preds, batch)
        if self._logits is not None:
            self.focus.add(count_focus(self._logits, self._head.targets(batch, self._logits)))

    def gather_stats(self) -> None:
        """Adds up what the processes of a training on several GPUs counted."""
        super().gather_stats()
        if distributed.is_available() and distributed.is_initialized():
            counted = [self.focus.hits, self.focus.missed, self.focus.false]
            total = torch.tensor(counted, dtype=torch.int64, device=self.device)
            distributed.all_reduce(total)
            self.focus = FocusCounts(*(int(number) for number in total))

    def get_stats(self) -> dict[str, Any]:
        """All figures by name."""
        figures = (self.focus.precision, self.focus.recall)
        return {**super().get_stats(), **dict(zip(FOCUS_METRICS, figures, strict=True))}
