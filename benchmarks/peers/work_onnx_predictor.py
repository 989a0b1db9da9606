"""onnx-predictor-yolo: its postprocessing of a flat output, which ends with one mask of the picture's size per object."""

from __future__ import annotations

from typing import Any

import cv2
from onnx_predictor_yolo._geometry import Transform
from onnx_predictor_yolo._postprocess import postprocess
from serve import Scene, Way, full_to_crops, serve


def ways_of(scene: Scene) -> dict[str, Way]:
    """One way, with OpenCV's own choice of threads as the package leaves it."""
    cv2.setNumThreads(-1)
    gain = min(scene.input[0] / scene.image[0], scene.input[1] / scene.image[1])
    transform = Transform(scene.image, scene.input, scene.content, (gain, gain), scene.pad)
    names = {i: str(i) for i in range(scene.classes)}

    def run() -> Any:
        return postprocess(
            scene.arrays["flat"],
            scene.arrays["protos"],
            transform,
            task="segment",
            output_format="raw",
            layout="channels_first",
            num_classes=scene.classes,
            conf=scene.conf,
            iou=scene.iou,
            max_det=scene.max_det,
            classes=None,
            agnostic_nms=False,
            mask_threshold=0.5,
            names=names,
        )

    return {"onnx-predictor-yolo": Way(run, lambda r: (r.boxes, r.scores, full_to_crops(r.masks)))}


if __name__ == "__main__":
    serve(ways_of)
