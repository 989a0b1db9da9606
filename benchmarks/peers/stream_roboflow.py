"""Roboflow's InferencePipeline on a network camera, with a function of one's own for the model: URL MODEL.onnx.

The function is letterbox and onnxruntime, and decodes nothing: a model of one's own is what the pipeline takes without an
account, and what it does around the model is what is looked at.
"""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
import onnxruntime
from stamps import say
from streamvision.stream.pipeline import InferencePipeline

SIDE = 640


def main(url: str, model: str) -> None:
    """Runs until it is ended."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def look(frames: list[Any]) -> list[Any]:
        found = []
        for frame in frames:
            height, width = frame.image.shape[:2]
            scale = SIDE / max(height, width)
            small = cv2.resize(frame.image, (round(width * scale), round(height * scale)))
            tensor = np.full((SIDE, SIDE, 3), 114, np.uint8)
            tensor[: small.shape[0], : small.shape[1]] = small
            blob = tensor[None, ..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255
            found.append(session.run(None, {name: np.ascontiguousarray(blob)}))
        return found

    def take(predictions: Any, frames: Any) -> None:
        for frame in frames if isinstance(frames, list) else [frames]:
            if frame is not None:
                say(frame.image)

    pipeline = InferencePipeline.init_with_custom_logic(video_reference=url, on_video_frame=look, on_prediction=take)
    pipeline.start()
    pipeline.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
