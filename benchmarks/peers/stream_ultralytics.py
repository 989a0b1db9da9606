"""ultralytics' stream mode on a network camera, as its documents have it: URL MODEL.onnx."""

from __future__ import annotations

import sys

from stamps import say
from ultralytics import YOLO


def main(url: str, model: str) -> None:
    """Results as they come; by default only the newest picture waits."""
    for result in YOLO(model, task="segment").predict(url, stream=True, imgsz=640, verbose=False):
        say(result.orig_img)


if __name__ == "__main__":
    main(*sys.argv[1:])
