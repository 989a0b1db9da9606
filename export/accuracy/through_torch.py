"""Pictures through ultralytics' own prediction: what the torch model sees, on the same input as the runtime."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
from torch import nn

from lineside.export.accuracy.found import CONF, IOU, MAX_DET, Found, Frames
from lineside.export.ultra import prepare
from lineside.runtime.masks import Mask, RunLengths

__all__ = ["through_torch"]

AT_A_TIME = 16
"""Masks that exist as whole tables at a time; ultralytics alone would hold all 300 of a picture."""

PREDICTORS = {"segment": "SegmentationPredictor", "detect": "DetectionPredictor"}


def through_torch(
    model: nn.Module, frames: Frames, input_size: tuple[int, int], end2end: bool = False
) -> Iterator[Found]:
    """Looks at pictures with a torch model by way of ultralytics' predictor, on the CPU, float32.

    The geometry is that of a bundle: the picture is padded to the whole input (``rect=False``), and masks are made at
    the resolution of the picture (``retina_masks=True``).

    Args:
        model: Result of `lineside.export.ultra.load_model`; it is left as it was.
        frames: The pictures.
        input_size: Height and width of the network's input, px.
        end2end: Whether the head that needs no NMS is used, where the model has one.

    Yields:
        What was found in each.
    """
    prepare()
    task = str(model.task)
    options = {
        "task": task,
        "mode": "predict",
        "imgsz": list(input_size),
        "conf": CONF,
        "iou": IOU,
        "max_det": MAX_DET,
        "retina_masks": True,
        "rect": False,
        "nms": False if end2end else None,
        "device": "cpu",
        "save": False,
        "verbose": False,
    }
    package = importlib.import_module(f"ultralytics.models.yolo.{task}")
    predictor = getattr(package, PREDICTORS[task])(overrides=options)
    predictor.setup_model(model, verbose=False)
    parts: list[Any] = []
    predictor.construct_result = _in_parts(predictor.construct_result, parts)
    for frame in frames:
        parts.clear()
        predictor(source=frame)
        yield _found(parts, (frame.shape[0], frame.shape[1]), task == "segment")


def _in_parts(whole: Callable[..., Any], parts: list[Any]) -> Callable[..., Any]:
    """Ultralytics' step from rows to a result, some rows at a time; each row's result depends on that row only.

    The masks of a part are run lengths before the next part is made.
    """

    def construct(rows: Any, *rest: Any) -> Any:
        for some in rows.split(AT_A_TIME):
            result = whole(some, *rest)
            tables = [] if result.masks is None else result.masks.data.numpy()
            parts.append((result.boxes, [Mask.from_array(table).rle() for table in tables]))
        return whole(rows[:0], *rest)

    return construct


def _found(parts: list[Any], image_size: tuple[int, int], with_masks: bool) -> Found:
    masks: list[RunLengths] = [rle for _, rles in parts for rle in rles]

    def column(name: str, width: tuple[int, ...], dtype: Any) -> Any:
        arrays = [np.asarray(getattr(boxes, name).numpy(), dtype) for boxes, _ in parts]
        return np.concatenate(arrays) if arrays else np.zeros((0, *width), dtype)

    return Found(
        boxes=cast(Any, column("xyxy", (4,), np.float32)),
        scores=cast(Any, column("conf", (), np.float32)),
        classes=cast(Any, column("cls", (), np.int32)),
        masks=tuple(masks) if with_masks else None,
        image_size=image_size,
    )
