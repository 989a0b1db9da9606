"""The buffers of one camera's stream: filled by the camera, lent to frames, and given back."""

from __future__ import annotations

import threading
from ctypes import byref, c_int, c_size_t, c_uint64
from dataclasses import dataclass
from typing import Any

import numpy as np

from lineside.pipelines.aravis.library import Refused, call, library
from lineside.pipelines.frame import Pixels
from lineside.pipelines.gst.structs import Value
from lineside.runtime.errors import SourceError

__all__ = ["DAMAGES", "Arrived", "Stream"]

DAMAGES = {
    -1: "the buffer's state is not known",
    1: "the buffer was cleared",
    2: "packets were missing when its time was over",
    3: "packets are missing",
    4: "a packet has a number that cannot be",
    5: "the picture is larger than the buffer for it",
    6: "the buffer was still being filled",
    7: "its filling was broken off",
}
"""What a ``ArvBufferStatus`` other than success means."""

_IMAGES = (1, 4, 5)
"""Payload types with a picture in front: an image, and images with chunk data behind."""


@dataclass(frozen=True)
class Arrived:
    """What a camera has sent.

    Attributes:
        number: The camera's own number of the picture; 16 bits of many cameras, which begin again at 1 then.
        stamp: The camera's own time in ns; 0 where it has no clock.
        system: Wall-clock time at which its first packet came, in ns since 1970; 0 where that is not known.
        damage: Why it is incomplete; None where it is whole.
        code: Number of its pixel format.
        size: Height and width in pixels.
        rows: The picture with its padding, as bytes: ``(H, bytes of a row)`` uint8, which cannot be written to. None where
            it is incomplete. It keeps the camera from using the buffer again for as long as any view of it lives.
    """

    number: int
    stamp: int
    system: int
    damage: str | None
    code: int = 0
    size: tuple[int, int] = (0, 0)
    rows: Pixels | None = None


class Stream:
    """Takes pictures out of a stream, and gives their buffers back to it.

    Args:
        camera: The camera, an ``ArvCamera``.
        buffers: How many pictures may be on their way or in somebody's hands.
        resend: Whether packets that are missing are asked for again.

    Raises:
        Refused: Another program holds the camera, or it cannot send.
    """

    def __init__(self, camera: int, buffers: int, *, resend: bool) -> None:
        self._arv = arv = library()
        # Taken again by the same thread where the garbage collector lets go of a loan in the midst of it.
        self._lock = threading.RLock()
        self._out = 0
        self._buffers = buffers
        payload = call("arv_camera_get_payload", camera)
        if not payload:
            raise Refused("it says that its pictures have no bytes", held=False)
        stream = call("arv_camera_create_stream", camera, None, None)
        if not stream:
            raise Refused("it gives no stream and no reason", held=False)
        self._stream: int | None = stream
        if arv.arv_camera_is_gv_device(camera):
            self._set_resend(resend)
        for _ in range(buffers):
            arv.arv_stream_push_buffer(stream, arv.arv_buffer_new_allocate(payload))

    def _set_resend(self, resend: bool) -> None:
        value = Value()
        self._arv.g_value_init(byref(value), self._arv.arv_gv_stream_packet_resend_get_type())
        self._arv.g_value_set_enum(byref(value), int(resend))
        self._arv.g_object_set_property(self._stream, b"packet-resend", byref(value))
        self._arv.g_value_unset(byref(value))

    @property
    def scarce(self) -> bool:
        """Whether half of the buffers are in somebody's hands: who gets a further picture had better copy it."""
        return 2 * self._out > self._buffers

    def pull(self, timeout: float) -> Arrived | None:
        """The next picture, whole or not; None where none came in that time. For one thread.

        Args:
            timeout: Longest wait, seconds.

        Raises:
            SourceError: It sends something that is no picture.
        """
        stream = self._stream
        if stream is None:
            return None
        buffer = self._arv.arv_stream_timeout_pop_buffer(stream, c_uint64(round(timeout * 1e6)))
        if not buffer:
            return None
        loan = _Loan(self, buffer)
        number = self._arv.arv_buffer_get_frame_id(buffer)
        stamp = self._arv.arv_buffer_get_timestamp(buffer)
        system = self._arv.arv_buffer_get_system_timestamp(buffer)
        status = self._arv.arv_buffer_get_status(buffer)
        if status:
            return Arrived(number, stamp, system, DAMAGES.get(status, f"its status is {status}"))
        kind = self._arv.arv_buffer_get_payload_type(buffer)
        if kind not in _IMAGES:
            raise SourceError(
                f"the camera sends something that is no plain picture (payload type {kind}); switch off JPEG, multi-part "
                "or 3D data in the camera's own settings"
            )
        return self._whole(loan, number, stamp, system)

    def _whole(self, loan: _Loan, number: int, stamp: int, system: int) -> Arrived:
        """A picture all of whose packets came."""
        arv, region, padding, size = self._arv, [c_int() for _ in range(4)], [c_int(), c_int()], c_size_t()
        arv.arv_buffer_get_image_region(loan.buffer, *map(byref, region))
        if arv.arv_buffer_get_image_padding is not None:
            arv.arv_buffer_get_image_padding(loan.buffer, *map(byref, padding))
        code = arv.arv_buffer_get_image_pixel_format(loan.buffer)
        width, height = region[2].value, region[3].value
        row = (width * ((code >> 16) & 0xFF) + 7) // 8 + padding[0].value
        address = arv.arv_buffer_get_data(loan.buffer, byref(size))
        if not address or width < 1 or height < 1 or size.value < row * height:
            damage = f"it has {size.value} bytes, and {width} x {height} pixels need {row * height}"
            return Arrived(number, stamp, system, damage)
        rows = np.asarray(_Rows(loan, address, (height, row)))
        return Arrived(number, stamp, system, None, code, (height, width), rows)

    def lent(self, by: int) -> None:
        """Counts buffers that are in somebody's hands."""
        with self._lock:
            self._out += by

    def back(self, buffer: int) -> None:
        """Gives a buffer back: to the camera, or to the system where the stream is closed already."""
        with self._lock:
            self._out -= 1
            if self._stream is not None:
                self._arv.arv_stream_push_buffer(self._stream, buffer)
                return
        self._arv.g_object_unref(buffer)

    def close(self) -> None:
        """Ends the stream and its thread. Pictures in somebody's hands stay as they are. Safe to call twice."""
        with self._lock:
            stream, self._stream = self._stream, None
        if stream is not None:
            self._arv.g_object_unref(stream)


class _Loan:
    """A buffer that is not with the camera, until this object goes."""

    __slots__ = ("_stream", "buffer")

    def __init__(self, stream: Stream, buffer: int) -> None:
        self._stream = stream
        self.buffer = buffer
        stream.lent(1)

    def __del__(self) -> None:
        self._stream.back(self.buffer)


class _Rows:
    """What numpy needs to make an array that keeps a loan alive."""

    __slots__ = ("__array_interface__", "_loan")

    def __init__(self, loan: _Loan, address: int, shape: tuple[int, int]) -> None:
        self._loan = loan
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "typestr": "|u1",
            "shape": shape,
            "data": (address, True),
        }
