"""A slot of the frame path: a stream, an engine, and one captured graph for each form of pictures."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lineside.runtime.cuda.frame import Frame, FrameKey, Options, key_of, placed
from lineside.runtime.detections import Detections
from lineside.runtime.errors import EngineFailed
from lineside.runtime.lane import Stamp
from lineside.runtime.yuv import Picture

if TYPE_CHECKING:
    from lineside.runtime.cuda.engine import DeviceEngine
    from lineside.runtime.manifest import Manifest

__all__ = ["MOST_FRAMES", "Slot"]

MOST_FRAMES = 16
"""Captured frames that a slot keeps, each with its memory: the cameras of a station, not the pictures of a folder."""


class Slot:
    """One run of the engine at a time, from pictures to detections.

    Args:
        engine: It belongs to this slot alone.
        manifest: What the bundle says about itself.

    Attributes:
        stream: Where everything of this slot happens.
    """

    def __init__(self, engine: DeviceEngine, manifest: Manifest) -> None:
        self.device = engine.device
        self.stream = self.device.stream()
        self._engine = engine
        self._manifest = manifest
        self._frames: OrderedDict[FrameKey, Frame] = OrderedDict()
        self._running: Frame | None = None
        self._warm = False

    def submit(
        self,
        pictures: Sequence[Picture],
        conf: float,
        iou: float,
        max_det: int,
        masks: str,
        agnostic: bool,
        stamp: Stamp | None = None,
    ) -> None:
        """Hands a run to the device and does not wait for it.

        Args:
            pictures: As many as the batch, or fewer; pictures of the device must stay as they are until `collect`.
            conf: As in `Lane.run`, and so are the others.
            iou: As there.
            max_det: As there.
            masks: As there.
            agnostic: As there.
            stamp: As there.

        Raises:
            BadFrame: A picture has another dtype or shape.
            EngineFailed: The device refuses, or there is not enough memory.
        """
        if self._running is not None:
            raise EngineFailed("this slot has a run that was not collected: collect it first")
        found = placed(pictures, self.device, self.stream)
        frame = self._frame(key_of(found))
        frame.fill(found, Options(conf, iou, max_det, masks, agnostic))
        if stamp is not None:
            stamp("preprocess")
        frame.launch()
        self._running = frame
        if stamp is not None:
            stamp("wait")

    def collect(self, stamp: Stamp | None = None) -> list[Detections]:
        """Waits for the run that was handed over and reads what it found.

        Raises:
            NonFiniteOutput: The model produced NaN or infinity among its candidates.
            EngineFailed: Something failed on the device.
        """
        frame, self._running = self._running, None
        if frame is None:
            raise EngineFailed("this slot has no run to collect: submit one first")
        self.device.synchronize(self.stream)
        if stamp is not None:
            stamp("infer")
        found = frame.read()
        if stamp is not None:
            stamp("postprocess")
        return found

    def drain(self) -> None:
        """Waits for whatever is running, and forgets it and its pictures."""
        self._running = None
        try:
            self.device.synchronize(self.stream)
        finally:  # a device that is lost reads no picture any more
            for frame in self._frames.values():
                frame.release()

    def close(self) -> None:
        """Frees all frames."""
        for frame in self._frames.values():
            frame.free()
        self._frames.clear()

    def _frame(self, key: FrameKey) -> Frame:
        """The captured frame of a key; the one that was longest unused makes room."""
        found = self._frames.get(key)
        if found is not None:
            self._frames.move_to_end(key)
            return found
        if not self._warm:
            self._engine.warm(self.stream)
            self.device.synchronize(self.stream)
            self._warm = True
        if len(self._frames) >= MOST_FRAMES:
            self._frames.popitem(last=False)[1].free()
        found = self._frames[key] = Frame(key, self._engine, self._manifest, self.stream)
        return found
