"""How a bundle is used, in the words that every station file and launch string has for it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from lineside.pipelines.catalog import Options
from lineside.pipelines.settings import Thresholds

__all__ = ["Count", "Use"]

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class Use(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a bundle is used; what is not given is the bundle's own value.

    Attributes:
        conf: Lowest score that is kept, exclusive.
        iou: Overlap above which the weaker of two boxes goes.
        max_det: Most detections per frame.
        masks: Resolution of the masks.
        agnostic: Suppress across classes.
        engine: Engine that runs the model.
        mode: One frame soon, or many frames side by side.
        threads: Threads of one inference.
    """

    conf: Annotated[float, msgspec.Meta(ge=0, lt=1)] | None = None
    iou: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    max_det: Count | None = None
    masks: Literal["native", "proto", "none"] = "native"
    agnostic: bool = False
    engine: Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[^\x00]*$")] = "auto"
    mode: Literal["latency", "throughput"] = "latency"
    threads: Count | None = None

    @property
    def thresholds(self) -> Thresholds:
        """What one frame is decided with."""
        return Thresholds(self.conf, self.iou, self.max_det, self.masks, self.agnostic)
