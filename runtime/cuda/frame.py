"""One captured frame: pictures of fixed forms, from upload to download, as one graph with memory of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lineside.runtime.cuda.arrays import DevicePicture, device_picture, on_device
from lineside.runtime.cuda.blocks import Layout
from lineside.runtime.cuda.download import Download
from lineside.runtime.cuda.parameters import Source
from lineside.runtime.cuda.staging import Form, form_of, stage
from lineside.runtime.cuda.steps import Addresses, FrameSteps
from lineside.runtime.cuda.yuv import DevicePlanes, DeviceYuv, device_planes
from lineside.runtime.detections import Detections
from lineside.runtime.yuv import Picture, Yuv

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Buffer, Device, Stream, Where
    from lineside.runtime.cuda.engine import DeviceEngine
    from lineside.runtime.manifest import Manifest

__all__ = ["Frame", "FrameKey", "Options", "Placed", "key_of", "placed"]

Placed = Picture | DevicePicture | DevicePlanes
"""A picture of the host's, or one whose place on the device is known."""

FrameKey = tuple[tuple[Form, bool], ...]
"""Form of each picture, and whether it lies on the device already: what a captured graph is for."""


@dataclass(frozen=True)
class Options:
    """What a call may change from frame to frame; see `Lane.run`."""

    conf: float
    iou: float
    max_det: int
    masks: str
    agnostic: bool


def placed(pictures: Sequence[object], device: Device, stream: Stream) -> list[Placed]:
    """The pictures of a run, those on the device found.

    Args:
        pictures: As somebody gave them.
        device: On which they are to be read.
        stream: In which.

    Raises:
        BadFrame: One on the device is none, or lies elsewhere; those of the host are looked at by `key_of`.
    """
    return [_placed(picture, device, stream) for picture in pictures]


def _placed(picture: Any, device: Device, stream: Stream) -> Placed:
    """A picture, found where it lies; what is no picture at all is refused by `key_of`."""
    if isinstance(picture, DeviceYuv):
        return device_planes(picture, device, stream)
    if isinstance(picture, (np.ndarray, Yuv)) or not on_device(picture):
        return picture  # type: ignore[no-any-return]
    return device_picture(picture, device, stream)


def key_of(pictures: Sequence[Placed]) -> FrameKey:
    """The key of some pictures.

    Raises:
        BadFrame: One of them is none.
    """
    return tuple(
        (picture.form, True) if isinstance(picture, (DevicePicture, DevicePlanes)) else (form_of(picture), False)
        for picture in pictures
    )


class Frame:
    """Memory, kernels and graph for pictures of one key; for one run at a time.

    Args:
        key: What the pictures are.
        engine: Between letterbox and decoding; it is warm.
        manifest: What the bundle says about itself.
        stream: Where everything happens; it has nothing to do.

    Raises:
        EngineFailed: There is not enough memory, or the device refuses.
        EngineUnavailable: The kernels cannot be built.
    """

    def __init__(self, key: FrameKey, engine: DeviceEngine, manifest: Manifest, stream: Stream) -> None:
        self._device, self._stream, self._engine = engine.device, stream, engine
        self._key = key
        self._held: list[Buffer] = []
        self._used: list[Placed] = []
        rows = engine.output_shapes[0][1] if manifest.head.kind == "end2end" else None
        self._steps = [FrameSteps(manifest.head, form, rows=rows, names=manifest.names) for form, _ in key]
        try:
            self._allocate()
            self._fill_tables()
            for kernel in {kernel for steps in self._steps for kernel in steps.kernels}:
                self._device.load(kernel)
            self._graph = self._device.capture(stream, self._record)
        except BaseException:
            self._free_memory()
            raise

    def fill(self, pictures: Sequence[Placed], options: Options) -> None:
        """Puts pictures and parameters where the graph reads them.

        Args:
            pictures: Of this frame's key; those on the device are held until `read`.
            options: What this run is to do.
        """
        for i, (picture, steps) in enumerate(zip(pictures, self._steps, strict=True)):
            if isinstance(picture, (DevicePicture, DevicePlanes)):
                for part in picture.parts:
                    self._wait_for(part)
                source = picture.source
            else:
                stage(picture, self._staged[self._up[f"image{i}"] :])
                source = Source.dense(steps.form, self._pixels + self._up[f"image{i}"])
            block = self._staged[self._up[f"parameters{i}"] :][: steps.parameter_bytes]
            steps.write(block, source, options.conf, options.iou, options.max_det, options.masks, options.agnostic)
        self._used, self._options = list(pictures), options

    def launch(self) -> None:
        """Hands the run to the device."""
        self._graph.launch(self._stream)

    def read(self) -> list[Detections]:
        """What the run found, once the stream is done.

        Raises:
            NonFiniteOutput: The model produced NaN or infinity among its candidates.
            EngineFailed: The rest of a large result could not be copied.
        """
        self.release()
        return [download.read(self._options) for download in self._downloads]

    def release(self) -> None:
        """Lets go of the pictures of the last run, which is done."""
        self._used = []

    def free(self) -> None:
        """Gives everything back; nothing of it may be running."""
        self._graph.free()
        self._free_memory()

    def _allocate(self) -> None:
        """All memory: parameters and then pictures go up in one block and one copy, the rest of each picture apart.

        Where both share one memory pictures stay where they are put. The parameters go up all the same, and tables and
        work are the device's own: every thread reads of them, and a Jetson's GPU keeps no mapped memory in its cache.
        """
        shared = self._device.integrated
        parts = {f"parameters{i}": steps.parameter_bytes for i, steps in enumerate(self._steps)}
        for i, (form, lies_there) in enumerate(self._key):
            parts[f"image{i}"] = 0 if lies_there else form.nbytes
        self._up = Layout(parts)
        self._staging = self._take(self._up.nbytes, "mapped" if shared else "pinned")
        self._staged: npt.NDArray[np.uint8] = self._staging.host()
        self._uploaded = self._take(self._up["image0"] if shared else self._up.nbytes)
        self._pixels = self._staging.address if shared else self._uploaded.address
        self._at: list[Addresses] = []
        self._downloads: list[Download] = []
        for i, steps in enumerate(self._steps):
            result = self._take(steps.result_bytes, "mapped" if shared else "device")
            at = Addresses(
                parameters=self._uploaded.address + self._up[f"parameters{i}"],
                tables=self._take(steps.table_bytes).address,
                work=self._take(steps.work_bytes).address,
                result=result.address,
                input=self._engine.input_address + 12 * math.prod(steps.head.input_size) * i,
                outputs=tuple(
                    address + 4 * math.prod(shape[1:]) * i
                    for address, shape in zip(self._engine.output_addresses, self._engine.output_shapes, strict=True)
                ),
            )
            self._at.append(at)
            self._downloads.append(
                Download(self._device, self._stream, steps, at, result, self._engine.output_shapes, self._take)
            )

    def _fill_tables(self) -> None:
        """Uploads the tables, once."""
        for steps, at in zip(self._steps, self._at, strict=True):
            staging = self._device.allocate(steps.table_bytes, "pinned")
            try:
                staging.host()[:] = steps.tables(at.outputs)
                self._device.copy(self._stream, at.tables, staging, steps.table_bytes)
                self._device.synchronize(self._stream)
            finally:
                staging.free()

    def _record(self) -> None:
        """What the graph does."""
        device, stream = self._device, self._stream
        device.copy(stream, self._uploaded, self._staging, self._uploaded.nbytes)
        for steps, at in zip(self._steps, self._at, strict=True):
            for launch in steps.letterbox(at):
                device.launch(stream, launch)
        self._engine.enqueue(stream, len(self._steps))
        for steps, at, download in zip(self._steps, self._at, self._downloads, strict=True):
            for launch in steps.decode(at):
                device.launch(stream, launch)
            download.record()

    def _wait_for(self, picture: DevicePicture) -> None:
        """Lets the run begin behind what makes a picture."""
        maker = self._device.before if picture.stream is None else self._device.adopt(picture.stream)
        if maker is not None:
            self._device.wait(self._stream, self._device.record(maker))

    def _take(self, nbytes: int, where: Where = "device") -> Buffer:
        """Memory that lives as long as this."""
        buffer = self._device.allocate(nbytes, where)
        self._held.append(buffer)
        return buffer

    def _free_memory(self) -> None:
        for buffer in self._held:
            buffer.free()
        self._held.clear()
