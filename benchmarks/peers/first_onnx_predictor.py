"""From nothing to the first result with onnx-predictor-yolo on onnxruntime: FRAME.npy MODEL.onnx."""

import sys

import numpy as np
from onnx_predictor_yolo import YoloPredictor
from report_first import first

frame = np.load(sys.argv[1])
found = YoloPredictor(sys.argv[2], output_format="raw")(frame, conf=0.25, iou=0.7)
first(len(found.boxes))
