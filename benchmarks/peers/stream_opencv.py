"""The loop that one would write first, OpenCV and a predictor on onnxruntime: URL MODEL.onnx."""

from __future__ import annotations

import sys

import cv2
from onnx_predictor_yolo import YoloPredictor
from stamps import say


def main(url: str, model: str) -> None:
    """Reads, looks, reads; ends where a picture cannot be read."""
    predictor = YoloPredictor(model, output_format="raw")
    camera = cv2.VideoCapture(url)
    while True:
        there, picture = camera.read()
        if not there:
            sys.exit("the camera gave no picture")
        predictor(picture, conf=0.25, iou=0.7)
        say(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
