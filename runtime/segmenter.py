"""A loaded bundle: pictures in, detections out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from types import TracebackType

import numpy as np

from lineside.runtime.detections import Detections
from lineside.runtime.engines.base import Array
from lineside.runtime.errors import BadFrame
from lineside.runtime.lane import Lane, Stamp, check_tensor
from lineside.runtime.manifest import Manifest
from lineside.runtime.pool import Pool
from lineside.runtime.postprocess import check_options
from lineside.runtime.raw import Raw
from lineside.runtime.yuv import Picture, Yuv

__all__ = ["Frame", "MaskMode", "Segmenter", "Stamp"]

Frame = Picture
MaskMode = str
"""``native``, ``proto`` or ``none``."""


class Segmenter:
    """A model that is called with pictures; any number of threads may call it.

    Made by `load`. Works as a context manager that closes it.

    Args:
        manifest: What the bundle says about itself.
        lanes: What its callers have to themselves, each one at a time; owned by the model from now on.
        engine_name: What executes it.
        engine_reason: Why that does, where nobody asked for just that.

    Attributes:
        manifest: What was loaded.
        engine_name: What executes it.
        engine_reason: Why that does: what ``auto`` or a fallback took, and what was in the way of something faster; empty
            where the engine was asked for by its name.
        lanes: How many threads may usefully call it at once; further ones wait for their turn.
    """

    def __init__(self, manifest: Manifest, lanes: Sequence[Lane], engine_name: str, engine_reason: str = "") -> None:
        self.manifest = manifest
        self.engine_name = engine_name
        self.engine_reason = engine_reason
        self.lanes = len(lanes)
        self._most = lanes[0].most
        self._pool = Pool(lanes)

    def __call__(
        self,
        frame: Frame,
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        masks: MaskMode = "native",
        agnostic: bool = False,
        stamp: Stamp | None = None,
    ) -> Detections:
        """Finds the objects in one picture.

        Args:
            frame: ``(H, W, 3)`` uint8 BGR or ``(H, W)`` uint8 grey; any strides, read-only too. Or a `Yuv`: NV12 or I420
                as a decoder gives it. It is not kept. An engine on a device also takes what lies there already, and
                does not copy it: an array of uint8 of these shapes that shows ``__cuda_array_interface__`` or
                ``__dlpack__`` (CuPy, torch, pycuda), or a `lineside.runtime.cuda.yuv.DeviceYuv` of such planes; it must stay
                as it is until the call is over.
            conf: A detection stays if its score is above this, 0 <= conf < 1; None: the bundle's default.
            iou: Of two boxes of one class that overlap more than this the weaker goes, 0 to 1; None: the default.
            max_det: At most so many detections, from 1; None: the default.
            masks: ``native`` (picture resolution), ``proto`` (prototype resolution, coarser) or ``none``. A detection
                model has no masks, whatever is asked.
            agnostic: Whether boxes of different classes suppress each other.
            stamp: Called with ``preprocess``, ``wait`` (for another lane that has the engine), ``infer`` and
                ``postprocess`` at the end of each stage; what they mean on a device is said at `lane.Stamp`.

        Returns:
            The detections, best first.

        Raises:
            BadFrame: The picture has another dtype or shape, or is empty.
            BadOption: An option is outside its range.
            NonFiniteOutput: The model produced NaN or infinity among its candidates.
            EngineFailed: The engine refused to run, or the model is closed.
            DeviceLost: The device has stopped working; further calls say the same, until the bundle is loaded again.
        """
        return self._run((frame,), conf, iou, max_det, masks, agnostic, stamp)[0]

    def many(
        self,
        frames: Sequence[Frame],
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        masks: MaskMode = "native",
        agnostic: bool = False,
        stamp: Stamp | None = None,
    ) -> list[Detections]:
        """Finds the objects in several pictures, as many per run as the model's batch.

        The last run of a dynamic model takes no longer than its pictures need. On a device the pictures of the next run
        are uploaded while one is executed, unless stamps are asked for: stages that overlap cannot be told apart.

        Args:
            frames: Pictures as for a call; their sizes may differ.
            conf: As for a call, and so are the other options.
            iou: As for a call.
            max_det: As for a call.
            masks: As for a call.
            agnostic: As for a call.
            stamp: As for a call, once per run.

        Returns:
            The detections of each picture.

        Raises:
            BadFrame: As for a call, and so are the other errors; also for one picture instead of several.
        """
        _check_pictures(frames)
        most = self._most
        parts = (tuple(frames[k] for k in range(i, min(i + most, len(frames)))) for i in range(0, len(frames), most))
        return list(chain.from_iterable(self._run(part, conf, iou, max_det, masks, agnostic, stamp) for part in parts))

    def raw(self, frame: Frame) -> Raw:
        """Runs the model on one picture and decodes nothing: every output tensor, the focus map among them.

        Args:
            frame: As for a call, in memory of the host.

        Returns:
            Copies of the outputs, and how the picture lies in the input.

        Raises:
            BadFrame: As for a call, and so is the other error.
            EngineFailed: The engine refused to run, or the model is closed.
        """
        return self._pool.run(lambda lane: lane.raw(frame))

    def infer(self, tensor: Array) -> list[Array]:
        """Executes the model on a prepared input, without pre- and postprocessing.

        Args:
            tensor: Float32 of the shape in the input contract, ``(batch, 3, h, w)``, RGB, 0 to 1; a dynamic model also
                takes fewer pictures.

        Returns:
            Copies of the outputs, in the order of the head contract.

        Raises:
            BadFrame: The tensor has another dtype or shape.
            EngineFailed: The engine refused to run, or the model is closed.
        """
        check_tensor(tensor, self.manifest)  # here too, so that a wrong one waits for no lane
        return self._pool.run(lambda lane: lane.infer(tensor))

    def close(self) -> None:
        """Waits for the calls that are running and frees the engines; a second call does nothing."""
        self._pool.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Segmenter({self.manifest.name!r}, engine={self.engine_name!r}, lanes={self.lanes})"

    def _run(
        self,
        frames: Sequence[Frame],
        conf: float | None,
        iou: float | None,
        max_det: int | None,
        masks: MaskMode,
        agnostic: bool,
        stamp: Stamp | None,
    ) -> list[Detections]:
        """One run of a lane, on as many pictures as fit or fewer."""
        defaults = self.manifest.thresholds
        conf = defaults.conf if conf is None else conf
        iou = defaults.iou if iou is None else iou
        max_det = defaults.max_det if max_det is None else max_det
        check_options(conf, iou, max_det, masks)  # here too, so that a wrong one costs no run of the engine
        return self._pool.run(lambda lane: lane.run(frames, conf, iou, max_det, masks, agnostic, stamp))


def _check_pictures(frames: object) -> None:
    """Raises BadFrame where several pictures are wanted and something else was given, one picture above all."""
    if isinstance(frames, np.ndarray):
        if frames.ndim == 2 or (frames.ndim == 3 and frames.shape[2] in (1, 3, 4)):
            raise BadFrame(
                f"an array of shape {frames.shape} is one picture, not several: call the model with it, "
                "or put it into a list"
            )
    elif isinstance(frames, Yuv):
        raise BadFrame("a YUV picture is one picture, not several: call the model with it, or put it into a list")
    elif not isinstance(frames, Sequence) or isinstance(frames, (str, bytes)):
        raise BadFrame(f"several pictures come as a list of arrays, not as {type(frames).__name__}: use list(...)")
