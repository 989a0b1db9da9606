"""From a frame in memory to the float32 input tensor of a model."""

from __future__ import annotations

import weakref
from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from lineside.runtime import _native
from lineside.runtime._native import Resampler
from lineside.runtime.errors import BadFrame, BadOption
from lineside.runtime.geometry import Letterbox, Size
from lineside.runtime.yuv import MAX_SIDE, Picture, Yuv, picture_size

__all__ = ["MAX_SIDE", "Preprocessor", "check_frame"]

_PLANS = 16  # geometries kept per preprocessor: the cameras of a station, not the pictures of a folder
_BUFFERS = 64  # buffers whose padding is remembered


def check_frame(frame: object) -> None:
    """Checks that a frame is one that the runtime reads.

    Args:
        frame: An array of uint8, ``(H, W, 3)`` in BGR order or ``(H, W)`` grey; any strides, read-only too. Or a `Yuv`,
            whose planes were checked when it was made.

    Raises:
        BadFrame: It is not an array, or has another dtype or shape, no pixels, or a side above ``MAX_SIDE``.
    """
    if isinstance(frame, Yuv):
        return
    if not isinstance(frame, np.ndarray):
        raise BadFrame(f"a frame must be a numpy array, not {type(frame).__name__}: use numpy.asarray(frame)")
    if frame.dtype != np.uint8:
        raise BadFrame(f"a frame must hold uint8 values (0 to 255), not {frame.dtype}: convert it before the call")
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] != 3):
        raise BadFrame(
            f"a frame of shape {frame.shape}: it must be (H, W, 3) in BGR order or (H, W) grey; "
            "drop an alpha channel with frame[..., :3], a single channel with frame[..., 0]"
        )
    if not 1 <= min(frame.shape[:2]) <= max(frame.shape[:2]) <= MAX_SIDE:
        raise BadFrame(f"a frame of shape {frame.shape}: both sides must be between 1 and {MAX_SIDE} pixels")


class Preprocessor:
    """Letterboxes frames into input buffers, keeping what does not change from frame to frame.

    The resampling plan of a picture size is made once. The padding of a buffer is written once, and again only after
    a frame of another geometry went through that buffer; nobody else may write to the padding meanwhile.
    For one thread at a time.

    Args:
        input_size: Height and width of the model's input, in pixels.

    Raises:
        BadOption: A side is below 1.
    """

    def __init__(self, input_size: Size) -> None:
        Letterbox.fit((1, 1), input_size)
        self.input_size = input_size
        self._rows = np.empty(0, np.uint8)  # where the plans convert luma and chroma, two rows at a time
        self._plans: OrderedDict[Size, tuple[Letterbox, Resampler]] = OrderedDict()
        # By address, with the array that owns it: while that one is alive the address cannot become another buffer's.
        self._padded: OrderedDict[int, tuple[weakref.ref[npt.NDArray[np.float32]], Letterbox]] = OrderedDict()

    def prepare(self, frame: Picture, out: npt.NDArray[np.float32]) -> Letterbox:
        """Fills one input tensor from one frame: house plan, section 3.

        Args:
            frame: ``(H, W, 3)`` BGR or ``(H, W)`` grey, uint8; any strides, read-only too. Or a `Yuv`, which gives
                exactly what its ``to_bgr()`` would; only rows that the resampling uses are converted.
            out: ``(3, h, w)`` float32, C-contiguous; receives RGB planes from 0 to 1. The picture is resampled as by
                OpenCV's ``INTER_LINEAR_EXACT`` and surrounded by ``114 / 255``.

        Returns:
            Where the picture lies in the input.

        Raises:
            BadFrame: The frame is not one that the runtime reads.
            BadOption: ``out`` has another shape, dtype or layout.
        """
        check_frame(frame)
        self._check_buffer(out)
        box, plan = self._plan(picture_size(frame))
        self._pad(out, box, plan)
        if isinstance(frame, Yuv):
            if self._rows.size < plan.row_bytes:
                self._rows = np.empty(plan.row_bytes, np.uint8)
            plan.run_yuv(*frame.parts, frame.matrix == "bt709", frame.range == "full", out, self._rows)
        else:
            plan.run(frame, out)
        return box

    def _check_buffer(self, out: npt.NDArray[np.float32]) -> None:
        wanted = (3, *self.input_size)
        if out.shape != wanted or out.dtype != np.float32 or not out.flags.carray:
            raise BadOption(
                f"an input buffer of shape {out.shape} and dtype {out.dtype}: "
                f"it must be {wanted}, float32, C-contiguous, aligned and writeable"
            )

    def _plan(self, image_size: Size) -> tuple[Letterbox, Resampler]:
        found = self._plans.get(image_size)
        if found is not None:
            self._plans.move_to_end(image_size)
            return found
        box = Letterbox.fit(image_size, self.input_size)
        plan = Resampler(
            image_h=box.image_size[0],
            image_w=box.image_size[1],
            content_h=box.content_size[0],
            content_w=box.content_size[1],
            input_h=box.input_size[0],
            input_w=box.input_size[1],
            left=box.pad[0],
            top=box.pad[1],
        )
        self._plans[image_size] = box, plan
        if len(self._plans) > _PLANS:
            self._plans.popitem(last=False)
        return box, plan

    def _pad(self, out: npt.NDArray[np.float32], box: Letterbox, plan: Resampler) -> None:
        # numpy's own way to an address makes a dictionary, and new strings, with every frame.
        address = _native.address(out)
        padded = self._padded.pop(address, None)
        if padded is None or padded[0]() is None or not _same_window(padded[1], box):
            plan.fill_padding(out)
            padded = weakref.ref(_owner(out)), box
        self._padded[address] = padded
        if len(self._padded) > _BUFFERS:
            self._padded.popitem(last=False)


def _same_window(a: Letterbox, b: Letterbox) -> bool:
    return a.content_size == b.content_size and a.pad == b.pad


def _owner(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The array whose life is the life of the memory: what the others are views of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
