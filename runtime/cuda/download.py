"""The result of one picture on its way back: its begin with every frame, the rest of it where there is more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lineside.runtime.detections import Detections
from lineside.runtime.postprocess import Postprocessor

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Buffer, Device, Stream, Where
    from lineside.runtime.cuda.frame import Options
    from lineside.runtime.cuda.steps import Addresses, FrameSteps

__all__ = ["Download"]


class Download:
    """Reads a picture's result.

    Most results fit into what the graph copies back. A longer one costs a second copy; one that the device has no room
    for is decoded on the processor, from the engine's outputs. Either way the answer is the same.

    Args:
        device: Where it lies.
        stream: Where copies are enqueued.
        steps: What makes it.
        at: Where the memory of the picture lies.
        result: The result on the device; the host sees it too where both share one memory.
        shapes: Of the engine's outputs, with the batch.
        take: Allocates memory that lives as long as the frame.
    """

    def __init__(
        self,
        device: Device,
        stream: Stream,
        steps: FrameSteps,
        at: Addresses,
        result: Buffer,
        shapes: Sequence[tuple[int, ...]],
        take: Callable[[int, Where], Buffer],
    ) -> None:
        self._device, self._stream, self._steps, self._at = device, stream, steps, at
        self._result = result
        self._shapes = [(1, *shape[1:]) for shape in shapes]
        self._take = take
        self._shared = result.where == "mapped"
        self._begin = result if self._shared else take(steps.first_bytes, "pinned")
        self._more: Buffer | None = None

    def record(self) -> None:
        """Enqueues the copy that is part of every frame."""
        if not self._shared:
            self._device.copy(self._stream, self._begin, self._at.result, self._steps.first_bytes)

    def read(self, options: Options) -> Detections:
        """The detections, once the stream is done.

        Args:
            options: Of the run.

        Raises:
            NonFiniteOutput: The model produced NaN or infinity among its candidates.
            EngineFailed: The rest of a result could not be copied.
        """
        block = self._begin.host()
        needed = self._steps.needed(block[: self._steps.first_bytes])
        if needed is None:
            return self._decode(options)
        if needed > self._steps.first_bytes and not self._shared:
            block = self._fetch(self._at.result, needed)
        return self._steps.read(block[:needed])

    def _decode(self, options: Options) -> Detections:
        """The processor's answer, from the engine's outputs."""
        outputs = []
        for address, shape in zip(self._at.outputs, self._shapes, strict=True):
            nbytes = 4 * int(np.prod(shape))
            outputs.append(self._fetch(address, nbytes).view(np.float32).reshape(shape).copy())
        return Postprocessor(self._steps.head).run(
            outputs,
            self._steps.box,
            conf=options.conf,
            iou=options.iou,
            max_det=options.max_det,
            masks=options.masks,
            agnostic=options.agnostic,
            names=self._steps.names,
        )

    def _fetch(self, address: int, nbytes: int) -> npt.NDArray[np.uint8]:
        """Copies a block of the device's memory; the next call overwrites it."""
        if self._more is None or self._more.nbytes < nbytes:
            self._more = self._take(1 << (nbytes - 1).bit_length(), "pinned")
        self._device.copy(self._stream, self._more, address, nbytes)
        self._device.synchronize(self._stream)
        return self._more.host()[:nbytes]
