"""A lane on a device: pictures go to it, detections come back, and everything between happens there."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lineside.runtime.cuda.slot import Slot
from lineside.runtime.detections import Detections
from lineside.runtime.engines.base import Array
from lineside.runtime.errors import EngineError
from lineside.runtime.geometry import Letterbox
from lineside.runtime.lane import Stamp, check_tensor
from lineside.runtime.preprocess import Preprocessor
from lineside.runtime.raw import Raw
from lineside.runtime.yuv import Picture

if TYPE_CHECKING:
    from lineside.runtime.cuda.runner import DeviceRunner

__all__ = ["DeviceLane"]

MOST_RUNS = 32
"""Runs of the engine that one call hands over without a break; in between other callers get the lane."""


class DeviceLane:
    """A lane with one slot or two; while a slot is executed, pictures for the next run go into the other.

    Args:
        runner: The engines, one per slot; owned from now on.

    Attributes:
        most: Pictures that one `run` takes at most.
        slots: One per engine.
    """

    def __init__(self, runner: DeviceRunner) -> None:
        self._runner = runner
        self._device = runner.device
        self.manifest = runner.manifest
        self.most = runner.manifest.input.batch * (MOST_RUNS if len(runner.engines) > 1 else 1)
        self._preprocessor: Preprocessor | None = None
        with self._device.current():
            self.slots = [Slot(engine, runner.manifest) for engine in runner.engines]

    def run(
        self,
        frames: Sequence[Picture],
        conf: float,
        iou: float,
        max_det: int,
        masks: str,
        agnostic: bool,
        stamp: Stamp | None,
    ) -> list[Detections]:
        """As many runs of the engine as the pictures need, one after the other; as `Lane.run`.

        Whoever asks for stamps gets runs that do not overlap, because stages that do cannot be told apart.
        """
        batch = self.manifest.input.batch
        runs = [frames[first : first + batch] for first in range(0, len(frames), batch)]
        slots = self.slots if stamp is None else self.slots[:1]
        found: list[Detections] = []
        waiting: list[Slot] = []
        with self._device.current():
            try:
                for number, pictures in enumerate(runs):
                    if len(waiting) == len(slots):
                        found.extend(waiting[0].collect(stamp))
                        del waiting[0]
                    slot = slots[number % len(slots)]
                    waiting.append(slot)
                    slot.submit(pictures, conf, iou, max_det, masks, agnostic, stamp)
                while waiting:
                    found.extend(waiting[0].collect(stamp))
                    del waiting[0]
            finally:
                # One failed, or was interrupted, or a stamp raised: all are waited for, this one too, so that nobody works
                # on what comes next.
                for slot in waiting:
                    with contextlib.suppress(EngineError):
                        slot.drain()
        return found

    def raw(self, frame: Picture) -> Raw:
        """Runs the model on one picture and decodes nothing; as `Lane.raw`."""
        name, size = self.manifest.input.name, self.manifest.input.size
        slot = self._runner.buffers()[name]
        self._preprocessor = self._preprocessor or Preprocessor(size)
        box: Letterbox = self._preprocessor.prepare(frame, slot[0])
        outputs = self._runner.infer({name: slot})
        named = zip(self.manifest.head.output_names, outputs, strict=True)
        return Raw(box, {name: output[:1].copy() for name, output in named})

    def infer(self, tensor: Array) -> list[Array]:
        """Executes the model on a prepared input; as `Lane.infer`."""
        check_tensor(tensor, self.manifest)
        self._preprocessor = None  # the padding that it knows is about to be overwritten
        return [output.copy() for output in self._runner.infer({self.manifest.input.name: tensor})]

    def close(self) -> None:
        """Frees everything; returns although the device is lost."""
        with contextlib.suppress(EngineError), self._device.current():
            for slot in self.slots:
                slot.close()
        self._runner.close()
