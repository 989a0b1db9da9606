"""ultralytics: its NMS and its masks, at the input's resolution (its default) and at the picture's, as its predictor."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("YOLO_AUTOINSTALL", "false")

import numpy as np
import torch
from serve import Scene, Way, full_to_crops, serve
from ultralytics.utils import ops
from ultralytics.utils.nms import non_max_suppression

THREADS = 2


def ways_of(scene: Scene) -> dict[str, Way]:
    """Both ways, on two threads, without the gradients that nobody asked for."""
    torch.set_num_threads(min(THREADS, os.cpu_count() or 1))
    table, protos = torch.from_numpy(scene.arrays["flat"]), torch.from_numpy(scene.arrays["protos"])[0]

    def kept() -> Any:
        return non_max_suppression(
            table, scene.conf, scene.iou, max_det=scene.max_det, nc=scene.classes, max_time_img=60.0
        )[0]

    @torch.inference_mode()
    def default() -> Any:
        found = kept()
        masks = ops.process_mask(protos, found[:, 6:], found[:, :4], scene.input, upsample=True)
        found[:, :4] = ops.scale_boxes(scene.input, found[:, :4], scene.image)
        return found, masks

    @torch.inference_mode()
    def native() -> Any:
        found = kept()
        found[:, :4] = ops.scale_boxes(scene.input, found[:, :4], scene.image)
        return found, ops.process_mask_native(protos, found[:, 6:], found[:, :4], scene.image)

    def tell(result: Any) -> tuple[Any, Any, Any]:
        found, masks = result
        (left, top), (h, w) = scene.pad, scene.content
        if tuple(masks.shape[1:]) != tuple(scene.image):  # nearest to the picture, as whoever shows them does
            masks = masks[:, top : top + h, left : left + w][None].float()
            masks = torch.nn.functional.interpolate(masks, scene.image, mode="nearest-exact")[0]
        return found[:, :4].numpy(), found[:, 4].numpy(), full_to_crops(masks.numpy().astype(np.uint8))

    return {
        "ultralytics process_mask": Way(default, tell),
        "ultralytics process_mask_native": Way(native, tell),
    }


if __name__ == "__main__":
    serve(ways_of)
