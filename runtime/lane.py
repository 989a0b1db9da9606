"""What one caller of a model has to itself: all that lies between a picture and its detections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np

from lineside.runtime.detections import Detections
from lineside.runtime.engines.base import Array, Engine
from lineside.runtime.errors import BadFrame
from lineside.runtime.manifest import Manifest
from lineside.runtime.postprocess import Postprocessor
from lineside.runtime.preprocess import Preprocessor
from lineside.runtime.raw import Raw
from lineside.runtime.yuv import Picture

__all__ = ["CpuLane", "Lane", "OwnLane", "Stamp", "check_tensor", "lane_of"]

Stamp = Callable[[str], None]
"""Called with ``preprocess``, ``wait``, ``infer`` and ``postprocess`` at the end of each stage; ``wait`` is the wait for
another lane that has the engine. On a device ``preprocess`` ends when the picture lies in memory that the device reads,
``wait`` when the frame was handed to the device, and ``infer`` when the device is done with all of it: upload, letterbox,
model, decoding, suppression, masks and download. What is left for ``postprocess`` is reading the result."""


class Lane(Protocol):
    """Buffers, engine, and the memory of all stages: one call at a time has them.

    Attributes:
        most: Pictures that one `run` takes at most.
    """

    most: int

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
        """Finds the objects in some pictures; the options are known to be in their ranges.

        Args:
            frames: At most `most` pictures, of any sizes.
            conf: Scores strictly above it are kept, 0 to 1.
            iou: Detections of one class that overlap by more are suppressed, 0 to 1.
            max_det: Detections per picture at most.
            masks: ``native``, ``proto`` or ``none``.
            agnostic: Whether detections suppress each other across classes.
            stamp: Called at the end of each stage; None for nobody.

        Returns:
            The detections of each picture, in the pictures' own pixels.

        Raises:
            BadFrame: A picture has another dtype or shape.
            NonFiniteOutput: The model produced NaN or infinity among its candidates.
            EngineFailed: The engine refused to run.
        """

    def raw(self, frame: Picture) -> Raw:
        """Runs the model on one picture and decodes nothing; the errors are those of `run`."""

    def infer(self, tensor: Array) -> list[Array]:
        """Executes the model on a prepared input; copies of its outputs.

        Raises:
            BadFrame: The tensor has another dtype or shape than the input contract.
            EngineFailed: The engine refused to run.
        """

    def close(self) -> None:
        """Frees what it holds; a second call does nothing."""


@runtime_checkable
class OwnLane(Protocol):
    """An engine that is more than the part between two stages, and brings the lane that goes with it."""

    def lane(self) -> Lane:
        """The lane, which owns the engine from now on."""


def lane_of(engine: Engine, manifest: Manifest) -> Lane:
    """The lane for an engine: its own where it has one, else that of the processor.

    Args:
        engine: Owned by the lane from now on.
        manifest: What the bundle says about itself.
    """
    return engine.lane() if isinstance(engine, OwnLane) else CpuLane(engine, manifest)


class CpuLane:
    """The lane of an engine that reads and writes arrays: the native core does the rest on the processor.

    Args:
        engine: Owned by the lane from now on.
        manifest: What the bundle says about itself.

    Attributes:
        most: Pictures that one `run` takes at most: the model's batch.
        tensor: The engine's input, float32 ``(batch, 3, h, w)``.
        slots: The same memory, one ``(3, h, w)`` per picture of the batch.
    """

    def __init__(self, engine: Engine, manifest: Manifest) -> None:
        self.engine = engine
        self.manifest = manifest
        self.most = manifest.input.batch
        self.tensor = engine.buffers()[manifest.input.name]
        self.slots = tuple(self.tensor)  # (3, h, w) each, a picture of the batch
        self.preprocessor = Preprocessor(manifest.input.size)
        self.postprocessor = Postprocessor(manifest.head)

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
        """One run of the engine, on as many pictures as fit or fewer; as `Lane.run`."""
        boxes = [self.preprocessor.prepare(frame, slot) for frame, slot in zip(frames, self.slots, strict=False)]
        _mark(stamp, "preprocess")
        begun = None if stamp is None else partial(stamp, "wait")
        outputs = self.engine.infer({self.manifest.input.name: self._filled(len(boxes))}, begun)
        _mark(stamp, "infer")
        found = [
            self.postprocessor.run(
                [output[i : i + 1] for output in outputs],
                box,
                conf=conf,
                iou=iou,
                max_det=max_det,
                masks=masks,
                agnostic=agnostic,
                names=self.manifest.names,
            )
            for i, box in enumerate(boxes)
        ]
        _mark(stamp, "postprocess")
        return found

    def raw(self, frame: Picture) -> Raw:
        """Runs the model on one picture and decodes nothing; as `Lane.raw`."""
        box = self.preprocessor.prepare(frame, self.slots[0])
        outputs = self.engine.infer({self.manifest.input.name: self._filled(1)})
        named = zip(self.manifest.head.output_names, outputs, strict=True)
        return Raw(box, {name: output[:1].copy() for name, output in named})

    def infer(self, tensor: Array) -> list[Array]:
        """Executes the model on a prepared input; as `Lane.infer`."""
        wanted = self.manifest.input
        check_tensor(tensor, self.manifest)
        # The padding in the buffers is about to be overwritten, so what is known of it is void.
        self.preprocessor = Preprocessor(wanted.size)
        return [output.copy() for output in self.engine.infer({wanted.name: tensor})]

    def close(self) -> None:
        """Closes the engine."""
        self.engine.close()

    def _filled(self, count: int) -> Array:
        """The part of the input that is to be executed: all of it, unless the model leaves the batch free."""
        return self.tensor[:count] if self.manifest.input.dynamic and count < len(self.slots) else self.tensor


def check_tensor(tensor: object, manifest: Manifest) -> None:
    """Checks that an array is an input of a model.

    Args:
        tensor: What was given.
        manifest: What the bundle says about itself.

    Raises:
        BadFrame: It is none: another dtype or shape.
    """
    wanted = manifest.input
    if not isinstance(tensor, np.ndarray):
        raise BadFrame(f"the model takes an array of float32 {wanted.shape}, not {type(tensor).__name__}")
    fewest = 1 if wanted.dynamic else wanted.batch
    fits = tensor.shape[1:] == wanted.shape[1:] and fewest <= len(tensor) <= wanted.batch
    if tensor.dtype != np.float32 or not fits:
        raise BadFrame(f"the model takes float32 {wanted.shape} and got {tensor.dtype} {tensor.shape}: prepare it so")


def _mark(stamp: Stamp | None, stage: str) -> None:
    if stamp is not None:
        stamp(stage)
