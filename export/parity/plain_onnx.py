"""The reference for a foreign ONNX: the graph as it was given, in a session of its own, decoded on its own.

A graph in float32 runs without optimisations. Where the last bit decides (rows sorted in the graph, arithmetic in
float16) the session optimises as the runtime's does, and only what is around the graph is compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lineside.export.parity.letterbox import letterboxed, place
from lineside.export.parity.reference import Seen, to_picture
from lineside.runtime.contract import HeadContract
from lineside.runtime.errors import EngineFailed

__all__ = ["OnnxReference"]


class OnnxReference:
    """Runs an ONNX graph in a plain onnxruntime session.

    Args:
        model: The file's content.
        head: Its head contract, ``flat`` or ``end2end``.
        batch: Pictures per run; the other slots stay empty.
        optimise: Let onnxruntime optimise the graph.

    Raises:
        EngineFailed: onnxruntime refuses the model.
    """

    def __init__(self, model: bytes, head: HeadContract, batch: int, optimise: bool) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        if not optimise:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        try:
            self._session: Any = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a dozen exception types without a common base
            reason = str(error).strip().partition("\n")[0]
            raise EngineFailed(f"onnxruntime refuses the model ({reason}): export it again") from error
        self._head, self._batch = head, batch

    def __call__(self, frame: npt.NDArray[np.uint8]) -> Seen:
        """Looks at one picture ``(H, W, 3)`` uint8 BGR."""
        placement = place((frame.shape[0], frame.shape[1]), self._head.input_size)
        pixels = letterboxed(frame, placement)
        tensor = np.zeros((self._batch, 3, *self._head.input_size), np.float32)
        tensor[0] = pixels.transpose(2, 0, 1).astype(np.float32) * np.float32(1 / 255)
        outputs = [output[:1] for output in self._session.run(None, {self._session.get_inputs()[0].name: tensor})]
        final = self._head.kind == "end2end"
        input_boxes, scores, coefficients = (
            _end2end(outputs[0][0], self._head) if final else _flat(outputs[0][0], self._head)
        )
        protos = outputs[1][0] if self._head.coefficients else np.zeros((0, 0, 0), np.float32)
        boxes = torch.from_numpy(input_boxes)
        return Seen(
            placement=placement,
            pixels=pixels,
            raw=dict(zip(self._head.output_names, outputs, strict=True)),
            input_boxes=boxes,
            boxes=to_picture(boxes, placement),
            scores=torch.from_numpy(scores),
            coefficients=torch.from_numpy(coefficients),
            protos=torch.from_numpy(protos),
            final=final,
        )


Parts = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float32]]


def _flat(output: npt.NDArray[np.float32], head: HeadContract) -> Parts:
    """Boxes, scores and coefficients of ``(4 + classes + coefficients, anchors)``."""
    columns = output.T
    centre, half = columns[:, :2].astype(np.float64), columns[:, 2:4].astype(np.float64) / 2
    return (
        np.concatenate([centre - half, centre + half], 1),
        columns[:, 4 : 4 + head.classes].astype(np.float64),
        np.ascontiguousarray(columns[:, 4 + head.classes :]),
    )


def _end2end(rows: npt.NDArray[np.float32], head: HeadContract) -> Parts:
    """Boxes, scores (0 for every class but the row's own) and coefficients of ``(rows, 6 + coefficients)``."""
    scores = np.zeros((len(rows), head.classes))
    classes = rows[:, 5].astype(np.int64).clip(0, head.classes - 1)
    scores[np.arange(len(rows)), classes] = rows[:, 4]
    return rows[:, :4].astype(np.float64), scores, np.ascontiguousarray(rows[:, 6:])
