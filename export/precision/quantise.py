"""INT8 in the form that an engine runs fast, from ranges or straight from pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx

from lineside.export.precision.asymmetric import to_asymmetric
from lineside.export.precision.calibrate import observe
from lineside.export.precision.ranges import Method, Ranges, Spread, kept_range
from lineside.export.precision.symmetric import to_symmetric

__all__ = ["METHOD", "Int8Kind", "ranges_of", "to_int8"]

Int8Kind = Literal["int8-trt", "int8-cpu"]

METHOD: Mapping[Int8Kind, Method] = {"int8-trt": "squares", "int8-cpu": "minmax"}
"""Which part of the values each form keeps. Chosen on 300 drawings of the bearing model, 64 others to calibrate on: for
processors ``minmax`` lost 0.12 points of mAP50-95 and ``squares`` 0.88; for TensorRT ``squares`` lost 0.17. Judged on 1000
that had no part in it (``benchmarks/results/precision.json``): 0.15 points for processors, 0.30 for TensorRT."""


def to_int8(
    model: onnx.ModelProto,
    kind: Int8Kind = "int8-trt",
    calibration: Ranges | Sequence[npt.NDArray[np.float32]] = (),
) -> onnx.ModelProto:
    """Quantises a float32 model.

    Args:
        model: A model of an export; left as it was. Weights may be stored as FP16.
        kind: ``int8-trt``: signed and symmetric, for TensorRT. ``int8-cpu``: unsigned activations, for processors.
        calibration: Ranges of its tensors, or inputs ``(1, 3, h, w)`` float32 to find them with.

    Returns:
        The model with explicit pairs of QuantizeLinear and DequantizeLinear; inputs and outputs float32.

    Raises:
        BadOption: There is nothing to calibrate with.
        ExportError: The model cannot be quantised, or a range is missing.
        NonFiniteOutput: The model puts out NaN or infinity.
    """
    if isinstance(calibration, Mapping):
        ranges: Ranges = calibration
    else:
        ranges = ranges_of(observe(model, calibration), METHOD[kind])
    return to_symmetric(model, ranges) if kind == "int8-trt" else to_asymmetric(model, ranges)


def ranges_of(spreads: Mapping[str, Spread], method: Method) -> dict[str, tuple[float, float]]:
    """The range of every tensor that a calibration saw.

    Args:
        spreads: What the tensors held, by name.
        method: How much of it the range keeps.

    Returns:
        Least and greatest value by name.
    """
    return {name: kept_range(spread, method) for name, spread in spreads.items()}
