"""The kernels of a frame one by one: run on chosen inputs, looked at in between, and timed by themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lineside.runtime.cuda.parameters import Source
from lineside.runtime.cuda.staging import form_of, stage
from lineside.runtime.cuda.steps import Addresses, FrameSteps
from lineside.runtime.detections import Detections
from lineside.runtime.errors import EngineFailed

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Buffer, Device, Event
    from lineside.runtime.cuda.engine import DeviceEngine
    from lineside.runtime.kernels.kernel import Launch
    from lineside.runtime.manifest import Manifest
    from lineside.runtime.selftest.subject import Subject
    from lineside.runtime.yuv import Picture

__all__ = ["Bench", "stage_times"]

Array = npt.NDArray[np.float32]


class Bench:
    """Memory and steps for pictures of one form; nothing is captured.

    Args:
        device: Where.
        manifest: Of the bundle.
        picture: One of the pictures, for its form.
        shapes: Of the outputs of the engine, for one picture.
        engine: Whose input and outputs are used; None: memory of its own.
    """

    def __init__(
        self,
        device: Device,
        manifest: Manifest,
        picture: Picture,
        shapes: Sequence[tuple[int, ...]],
        engine: DeviceEngine | None = None,
    ) -> None:
        self._device, self._manifest, self._engine = device, manifest, engine
        self._shapes = tuple(shapes)
        head = manifest.head
        rows = shapes[0][1] if head.kind == "end2end" else None
        self.steps = FrameSteps(head, form_of(picture), rows=rows, names=manifest.names)
        self._held: list[Buffer] = []
        self._stream = device.stream()
        self._input = (3, *head.input_size)
        self._image = self._take(self.steps.form.nbytes)
        self._given = self._take(self.steps.form.nbytes, pinned=True)
        self._parameters = self._take(self.steps.parameter_bytes)
        self._options = self._take(self.steps.parameter_bytes, pinned=True)
        self._result = self._take(self.steps.result_bytes)
        own = engine is None
        self.at = Addresses(
            parameters=self._parameters.address,
            tables=self._take(self.steps.table_bytes).address,
            work=self._take(self.steps.work_bytes).address,
            result=self._result.address,
            input=self._take(4 * math.prod(self._input)).address if own else engine.input_address,  # type: ignore[union-attr]
            outputs=tuple(self._take(4 * math.prod(shape)).address for shape in shapes)
            if own
            else tuple(engine.output_addresses),  # type: ignore[union-attr]
        )
        self._put(self.at.tables, self.steps.tables(self.at.outputs))
        for kernel in self.steps.kernels:
            device.load(kernel)

    def letterboxed(self, picture: Picture) -> Array:
        """The input that the letterbox makes of a picture, ``(3, h, w)``."""
        self._write(picture, 0.25, 0.7, 300)
        self._upload()
        self._device.fill(self._stream, self.at.input, 0xFF, 4 * math.prod(self._input))  # NaN
        for launch in self.steps.letterbox(self.at):
            self._device.launch(self._stream, launch)
        return self._get(self.at.input, 4 * math.prod(self._input)).view(np.float32).reshape(self._input)

    def decoded(
        self, picture: Picture, outputs: Sequence[Array], conf: float, iou: float, max_det: int
    ) -> Detections | None:
        """What scan, suppression and masks make of raw outputs; None where the device has no room for all of it.

        Args:
            picture: Whose size counts.
            outputs: In the order of the head contract, of one picture.
            conf: As for a call of the model, and so are the others.
            iou: As there.
            max_det: As there.
        """
        self._write(picture, conf, iou, max_det)
        self._upload()
        for address, output in zip(self.at.outputs, outputs, strict=True):
            self._put(address, np.ascontiguousarray(output, np.float32))
        for launch in self.steps.decode(self.at):
            self._device.launch(self._stream, launch)
        needed = self.steps.needed(self._get(self.at.result, self.steps.first_bytes))
        return None if needed is None else self.steps.read(self._get(self.at.result, needed))

    def timed(self, picture: Picture, runs: int) -> dict[str, list[float]]:
        """Milliseconds of each step of a frame, run by run; needs the engine.

        Args:
            picture: The frame.
            runs: How often.
        """
        engine, device, stream = self._engine, self._device, self._stream
        if engine is None:
            raise EngineFailed("there is no engine to time: give it to the bench")
        limits = self._manifest.thresholds
        self._write(picture, limits.conf, limits.iou, limits.max_det)
        back = self._take(self.steps.first_bytes, pinned=True)
        steps: list[tuple[str, Callable[[], None]]] = [
            ("upload", self._upload),
            *self._launches(self.steps.letterbox(self.at)),
            ("engine", lambda: engine.enqueue(stream)),
            *self._launches(self.steps.decode(self.at)),
            ("download", lambda: device.copy(stream, back, self.at.result, self.steps.first_bytes)),
        ]
        names = [f"{number}. {name}" for number, (name, _) in enumerate(steps, start=1)]
        found: dict[str, list[float]] = {name: [] for name in names}
        for run in range(runs + 2):
            marks: list[Event] = [device.record(stream)]
            for _, step in steps:
                step()
                marks.append(device.record(stream))
            device.synchronize(stream)
            if run >= 2:
                for name, begin, end in zip(names, marks, marks[1:], strict=False):
                    found[name].append(device.elapsed(begin, end))
        return found

    def close(self) -> None:
        """Frees the memory."""
        for buffer in self._held:
            buffer.free()
        self._held.clear()

    def _launches(self, launches: Sequence[Launch]) -> list[tuple[str, Callable[[], None]]]:
        """Name and call of each launch."""
        return [
            (", ".join(filter(None, (one.kernel.name, one.purpose))), partial(self._device.launch, self._stream, one))
            for one in launches
        ]

    def _write(self, picture: Picture, conf: float, iou: float, max_det: int) -> None:
        """Puts a picture and its parameters where the upload takes them from."""
        stage(picture, self._given.host())
        source = Source.dense(self.steps.form, self._image.address)
        self.steps.write(self._options.host(), source, conf, iou, max_det, "native", False)

    def _upload(self) -> None:
        self._device.copy(self._stream, self._image, self._given, self._given.nbytes)
        self._device.copy(self._stream, self._parameters, self._options, self._options.nbytes)

    def _put(self, address: int, array: npt.NDArray[np.generic]) -> None:
        staging = self._device.allocate(array.nbytes, "pinned")
        try:
            staging.host()[:] = array.reshape(-1).view(np.uint8)
            self._device.copy(self._stream, address, staging, array.nbytes)
            self._device.synchronize(self._stream)
        finally:
            staging.free()

    def _get(self, address: int, nbytes: int) -> npt.NDArray[np.uint8]:
        staging = self._device.allocate(nbytes, "pinned")
        try:
            self._device.copy(self._stream, staging, address, nbytes)
            self._device.synchronize(self._stream)
            return staging.host()[:nbytes].copy()
        finally:
            staging.free()

    def _take(self, nbytes: int, pinned: bool = False) -> Buffer:
        buffer = self._device.allocate(nbytes, "pinned" if pinned else "device")
        self._held.append(buffer)
        return buffer


def stage_times(subject: Subject, runs: int = 50) -> dict[str, list[float]]:
    """Milliseconds of each step of a frame on the device, launched one by one.

    Args:
        subject: What is tested.
        runs: How often.
    """
    frame = subject.frame(subject.options.size)
    with subject.device.current(), closing(subject.runner()) as runner:
        engine = runner.engines[0]
        shapes = [(1, *shape[1:]) for shape in engine.output_shapes]
        with closing(Bench(subject.device, subject.bundle.manifest, frame, shapes, engine)) as bench:
            return bench.timed(frame, runs)
