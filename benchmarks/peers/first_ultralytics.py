"""From nothing to the first result with ultralytics on onnxruntime: FRAME.npy MODEL.onnx."""

import sys

import numpy as np
from report_first import first
from ultralytics import YOLO

frame = np.load(sys.argv[1])
found = YOLO(sys.argv[2], task="segment").predict(frame, imgsz=640, verbose=False)[0]
first(len(found))
