"""Looks at pictures through a float32 graph and notes what its tensors hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from lineside.export.precision.graph import element_types, plain_copy
from lineside.export.precision.ranges import BINS, Spread
from lineside.runtime.errors import BadOption, NonFiniteOutput
from lineside.runtime.preprocess import Preprocessor

__all__ = ["letterboxed_inputs", "observe"]

Tensor = npt.NDArray[np.float32]


def letterboxed_inputs(frames: Iterable[npt.NDArray[np.uint8]], size: tuple[int, int]) -> list[Tensor]:
    """Pictures as the runtime gives them to a model.

    Args:
        frames: Pictures ``(H, W, 3)`` uint8 BGR.
        size: Height and width of the input in pixels.

    Returns:
        ``(1, 3, h, w)`` float32 each.
    """
    preprocess = Preprocessor(size)
    inputs = []
    for frame in frames:
        slot = np.zeros((3, *size), np.float32)
        preprocess.prepare(frame, slot)
        inputs.append(slot[None])
    return inputs


def observe(model: onnx.ModelProto, inputs: Sequence[Tensor], counted: bool = True) -> dict[str, Spread]:
    """Runs a model over some inputs, twice, and counts what every float tensor of its main graph holds.

    The same inputs give the same counts: one thread, one picture at a time.

    Args:
        model: A model of an export, float32 arithmetic; left as it was.
        inputs: ``(1, 3, h, w)`` float32 each; a model of a larger batch sees each in all its slots.
        counted: Count values; without it only the ends are found, in one run, and the counts stay 0.

    Returns:
        By name of the tensor; the input is among them.

    Raises:
        BadOption: There are no inputs.
        NonFiniteOutput: A tensor holds NaN or infinity.
    """
    if not inputs:
        raise BadOption("a calibration needs pictures: give some")
    run = _Tapped(model)
    lows: dict[str, float] = {}
    highs: dict[str, float] = {}
    for tensor in inputs:
        for name, values in run(tensor):
            low, high = float(values.min()), float(values.max())
            if not np.isfinite(low + high):
                raise NonFiniteOutput(
                    f"the tensor '{name}' of the model holds NaN or infinity: its weights are broken; train it again"
                )
            lows[name], highs[name] = min(low, lows.get(name, low)), max(high, highs.get(name, high))
    counts = {name: np.zeros(BINS, np.int64) for name in lows}
    for tensor in inputs if counted else ():
        for name, values in run(tensor):
            if highs[name] > lows[name]:
                wide = values.astype(np.float64)  # float32 has no 2048 steps between two neighbouring values
                counts[name] += np.histogram(wide, BINS, (lows[name], highs[name]))[0]
    return {name: Spread(lows[name], highs[name], counts[name]) for name in lows}


class _Tapped:
    """A session that gives every float tensor of the main graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        import onnxruntime as ort

        twin = plain_copy(model)
        kinds = element_types(twin)
        known = {value.name for value in twin.graph.output}
        self._names = [
            name for node in twin.graph.node for name in node.output if kinds.get(name) == onnx.TensorProto.FLOAT
        ]
        twin.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._names if name not in known)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        data = twin.SerializeToString()
        self._session: Any = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        given = self._session.get_inputs()[0]
        self._input, first = given.name, given.shape[0]
        self._batch = first if isinstance(first, int) else 1

    def __call__(self, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
        yield self._input, tensor
        batch = np.repeat(tensor, self._batch, axis=0)
        yield from zip(self._names, self._session.run(self._names, {self._input: batch}), strict=True)
