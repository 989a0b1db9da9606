"""The bundle's side of the gate: exactly the code that runs on the line, with its raw outputs in view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lineside.runtime.bundle import Bundle
from lineside.runtime.detections import Detections
from lineside.runtime.engines import open_engines
from lineside.runtime.engines.base import EngineOptions
from lineside.runtime.geometry import Letterbox
from lineside.runtime.postprocess import Postprocessor
from lineside.runtime.preprocess import Preprocessor

__all__ = ["Shipped", "View"]

Tensor = npt.NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """One picture as the bundle sees it.

    Attributes:
        letterbox: Where the picture lies in the input.
        tensor: ``(3, h, w)`` float32 input.
        outputs: Output tensors of the graph in the order of the head contract, batch 1.
    """

    letterbox: Letterbox
    tensor: Tensor
    outputs: tuple[Tensor, ...]


class Shipped:
    """A bundle, run without torch.

    Args:
        bundle: The bundle, verified.

    Raises:
        EngineError: The model cannot be executed here.
        ContractMismatch: The model's tensors do not fit the manifest.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        self._engine = open_engines("onnxruntime", bundle, EngineOptions(lanes=1))[0]
        self._preprocess = Preprocessor(bundle.manifest.input.size)
        self._postprocess = Postprocessor(bundle.manifest.head)
        self.batch = bundle.manifest.input.batch
        self.name = self._engine.name

    def look(self, frames: Sequence[npt.NDArray[np.uint8]]) -> list[View]:
        """Looks at pictures.

        Args:
            frames: Pictures ``(H, W, 3)`` uint8 BGR, at most `batch` of them.
        """
        inputs = self._engine.buffers()
        buffer = inputs[self._manifest.input.name]
        boxes = [self._preprocess.prepare(frame, buffer[slot]) for slot, frame in enumerate(frames)]
        if self._manifest.input.dynamic:
            inputs = {self._manifest.input.name: buffer[: len(frames)]}
        outputs = self._engine.infer(inputs)
        return [
            View(box, buffer[slot].copy(), tuple(output[slot : slot + 1].copy() for output in outputs))
            for slot, box in enumerate(boxes)
        ]

    def best(self, view: View, count: int) -> Detections:
        """The best anchors of a picture, whatever their score and overlap, with native masks."""
        return self._postprocess.run(
            view.outputs, view.letterbox, conf=0.0, iou=1.0, max_det=count, masks="native", agnostic=False,
            names=self._manifest.names,
        )  # fmt: skip

    def close(self) -> None:
        """Frees the engine."""
        self._engine.close()
