"""Which precisions an export adds, and what each of them promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lineside.export.parity.budget import Budget
from lineside.runtime.errors import BadOption
from lineside.runtime.manifest import Variant

__all__ = ["AIMS", "BUDGETS", "CALIBRATION", "UNTRAINED", "VARIANTS", "PrecisionChoice", "read_precisions"]

VARIANTS: Mapping[str, Variant] = {
    "fp16": Variant(file="variants/fp16.onnx", precision="fp16", engines=("tensorrt",)),
    "int8-trt": Variant(file="variants/int8-trt.onnx", precision="int8", engines=("tensorrt",)),
    "int8-cpu": Variant(file="variants/int8-cpu.onnx", precision="int8", engines=("onnxruntime",)),
}
"""What a manifest says of each."""

_INT8 = Budget(cosine=0.95, box_px=48.0, score=0.3, tie=4.0, tie_score=0.3, mask_iou=0.75, focus=0.3)

_UNTRAINED_INT8 = Budget(cosine=0.85, box_px=64.0, score=0.35, tie=4.0, tie_score=0.35, mask_iou=0.6, focus=0.35)

BUDGETS: Mapping[str, Budget] = {
    "fp16": Budget(cosine=0.999, box_px=1.0, score=0.02, tie=0.3, tie_score=0.02, mask_iou=0.97, focus=0.02),
    "int8-trt": _INT8,
    "int8-cpu": _INT8,
}
"""How far each may be from torch on the pictures of the gate. The best 50 anchors of a picture are compared whatever their
score, so these limits find a model that is broken; what a precision costs is measured on labelled pictures, see `AIMS`.

Sound INT8 forms of both demo models came to a cosine of 0.983, 27 px, 0.19 and an IoU of 0.87 at worst, on pictures of their
own kind and on those that an export draws, calibrated on 12 pictures or more (4 gave a cosine of 0.89, which is refused); the
limits leave 1.6 to 3 times of that. Scales four times too wide give a cosine of 0.92 or an IoU of 0.70 on the better of the
two, ranges cut off at the half a cosine of 0.72."""

UNTRAINED: Mapping[str, Budget] = {"int8-trt": _UNTRAINED_INT8, "int8-cpu": _UNTRAINED_INT8}
"""The same for random weights, in which nothing stands out from the rounding: sound forms come to a cosine of 0.86 and an IoU
of 0.67."""

AIMS: Mapping[str, float] = {"fp16": 0.001, "int8-trt": 0.005, "int8-cpu": 0.005}
"""Mask mAP50-95 that each may lose; an export stops where a variant surely loses more."""

CALIBRATION = 128
"""Pictures that a calibration looks at, where nothing else is said."""


@dataclass(frozen=True)
class PrecisionChoice:
    """What to add to a bundle.

    Attributes:
        names: Of `VARIANTS`.
        calibrate: Folder with pictures for INT8; None for the training pictures of `data`.
        count: At most so many of them.
        data: ``data.yaml`` of a labelled set to measure on; None to measure nothing.
        root: Folder of the set, in place of the path in its ``data.yaml``.
        limit: At most so many pictures to measure on; None for all of the split ``val``.
    """

    names: tuple[str, ...] = ()
    calibrate: Path | None = None
    count: int = CALIBRATION
    data: Path | None = None
    root: Path | None = None
    limit: int | None = None

    def check(self) -> None:
        """Raises BadOption where something is missing or does not go together."""
        if not self.names:
            if self.calibrate or self.data:
                raise BadOption("pictures for calibration and measurement belong to variants: give --precision too")
            return
        if self.count < 1:
            raise BadOption(f"--calibration is at least 1; {self.count} was given")
        if any(VARIANTS[name].precision == "int8" for name in self.names) and not (self.calibrate or self.data):
            raise BadOption(
                "INT8 is calibrated on pictures of what the model will see: give a folder with --calibrate, or the "
                "data set with --data"
            )


def read_precisions(text: str) -> tuple[str, ...]:
    """Reads ``fp16,int8-cpu``.

    Raises:
        BadOption: A name is none of `VARIANTS`, or stands there twice.
    """
    names = tuple(word.strip() for word in text.split(",") if word.strip())
    unknown = [name for name in names if name not in VARIANTS]
    if unknown or not names or len(set(names)) < len(names):
        wrong = f"'{unknown[0]}' is not known" if unknown else "each name is given once"
        raise BadOption(f"--precision {text}: {wrong}; choose some of {','.join(VARIANTS)}")
    return names
