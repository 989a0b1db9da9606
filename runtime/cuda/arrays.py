"""Pictures that lie on the device already: what CuPy, torch, pycuda and others show of their memory.

Two doors are known: ``__cuda_array_interface__`` (versions 2 and 3) and DLPack (``__dlpack__``). Nothing is imported of
those libraries, and nothing is copied.

Version 2 of the first door says nothing about the stream on which a picture is made. Whoever has DLPack too (torch) is
asked by that, which waits; for others the stream that the device was given is waited for, else the legacy default
stream, which comes behind everything on the ordinary streams of a context.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineside.runtime.cuda.parameters import Source
from lineside.runtime.cuda.staging import Form
from lineside.runtime.errors import BadFrame
from lineside.runtime.preprocess import MAX_SIDE

if TYPE_CHECKING:
    from lineside.runtime.cuda.device import Device, Stream

__all__ = ["DevicePicture", "device_array", "device_picture", "on_device", "outside"]

CPU, CUDA, CUDA_MANAGED = 1, 2, 13
"""Kinds of memory, as DLPack counts them."""

LEGACY_STREAM = 1
"""Handle of the legacy default stream."""

UNSIGNED = 1
"""DLPack's code of unsigned integers."""


@dataclass(frozen=True)
class DevicePicture:
    """A picture in the device's memory.

    Attributes:
        address: Its first byte.
        shape: ``(H, W, 3)`` BGR or ``(H, W)`` grey, uint8.
        strides: Bytes from one row, pixel and channel to the next; negative where it is flipped.
        stream: The stream on which it is made, to be waited for; None: it is there, or its maker has seen to it.
        owner: What keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    stream: int | None
    owner: object

    @property
    def span(self) -> tuple[int, int]:
        """Lowest address that it touches, and how many bytes from there."""
        reach = [(side - 1) * stride for side, stride in zip(self.shape, self.strides, strict=True)]
        low, high = sum(min(0, step) for step in reach), sum(max(0, step) for step in reach)
        return self.address + low, high - low + 1

    @property
    def form(self) -> Form:
        """What a graph is captured for."""
        return Form("bgr" if len(self.shape) == 3 else "grey", (self.shape[0], self.shape[1]))

    @property
    def source(self) -> Source:
        """Where kernels find its pixels."""
        return Source.packed(self.address, self.strides)

    @property
    def parts(self) -> tuple[DevicePicture, ...]:
        """What was made by somebody, each on a stream of its own."""
        return (self,)


class _Tensor(ctypes.Structure):
    """DLPack's ``DLTensor``, the begin of its ``DLManagedTensor``."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def on_device(frame: object) -> bool:
    """Whether an object shows memory of a device, by either door.

    Args:
        frame: Anything.

    Raises:
        BadFrame: It breaks when it is asked.
    """
    return _interface(frame) is not None or _by_second_door(frame)


def _by_second_door(frame: object) -> bool:
    """Whether an object shows memory of a device by DLPack; the error is that of `on_device`."""
    ask = getattr(frame, "__dlpack_device__", None)
    if ask is None or not hasattr(frame, "__dlpack__"):
        return False
    try:
        return int(ask()[0]) in (CUDA, CUDA_MANAGED)
    except Exception as error:  # somebody else's code
        raise BadFrame(f"a {type(frame).__name__} does not say where its memory lies: {error}") from error


def device_picture(frame: object, device: Device, stream: Stream) -> DevicePicture:
    """A picture of somebody else's as the frame path reads it; nothing is copied.

    Args:
        frame: An object for which `on_device` holds.
        device: On which it must lie.
        stream: On which it will be read: a maker that speaks DLPack lets that wait for itself.

    Returns:
        Where it lies. It must stay as it is until the call is over.

    Raises:
        BadFrame: It is not uint8, has another shape than ``(H, W, 3)`` or ``(H, W)``, or lies elsewhere.
    """
    picture = device_array(frame, device, stream)
    _check(picture, device)
    return picture


def device_array(frame: object, device: Device, stream: Stream) -> DevicePicture:
    """An array of uint8 on a device, of whatever shape, wherever it lies; else as `device_picture`.

    Args:
        frame: What shows ``__cuda_array_interface__`` or DLPack.
        device: The device that is to read it.
        stream: What reads it; it waits for what makes the array.

    Raises:
        BadFrame: It shows nothing of the kind, or is not uint8.
    """
    interface = _interface(frame)
    if interface is None or (interface.get("version") == 2 and _by_second_door(frame)):
        return _by_dlpack(frame, stream)
    return _by_interface(frame, interface, device.before)


def outside(picture: DevicePicture, device: Device) -> BadFrame:
    """What to say of an array that kernels of the device cannot read.

    Args:
        picture: The array.
        device: The device.
    """
    return BadFrame(
        f"the picture's memory at {picture.address:#x} is out of reach of {device.name}: make it on the device that "
        "the model was loaded on, in the same CUDA context"
    )


def _interface(frame: object) -> dict[str, Any] | None:
    """The description at the first door, None where there is none."""
    try:
        found = getattr(frame, "__cuda_array_interface__", None)
    except Exception as error:  # torch raises more than AttributeError, for tensors that want a gradient
        raise BadFrame(f"a {type(frame).__name__} does not show its memory: {error}") from error
    return found if isinstance(found, dict) else None


def _by_interface(frame: object, interface: dict[str, Any], before: Stream | None) -> DevicePicture:
    """A picture by the first door; one of version 2 is made on ``before``, or on what the default stream waits for."""
    try:
        typestr, version = interface["typestr"], int(interface["version"])
        shape = tuple(int(side) for side in interface["shape"])
        address = int(interface["data"][0])
        strides = interface.get("strides")
        mask, stream = interface.get("mask"), interface.get("stream")
        steps = _dense(shape) if strides is None else tuple(int(step) for step in strides)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadFrame(f"the __cuda_array_interface__ of a {type(frame).__name__} cannot be read: {error!r}") from error
    if version < 2 or mask is not None or len(steps) != len(shape):
        raise BadFrame(
            f"the __cuda_array_interface__ of a {type(frame).__name__} has version {version}"
            f"{' and a mask' if mask is not None else ''}: it must be 2 or newer, without a mask"
        )
    if typestr not in ("|u1", "<u1", ">u1"):
        raise BadFrame(f"a picture on the device must hold uint8 values (0 to 255), not {typestr!r}: convert it before")
    if stream == 0:
        raise BadFrame("a __cuda_array_interface__ names the stream 0, which may mean two: it must be 1, 2 or a handle")
    if stream is None and version < 3:
        stream = LEGACY_STREAM if before is None else before.handle
    return DevicePicture(address, shape, steps, None if stream is None else int(stream), frame)


def _by_dlpack(frame: Any, stream: Stream) -> DevicePicture:
    try:
        capsule = frame.__dlpack__(stream=stream.handle)
    except Exception as error:  # somebody else's code
        raise BadFrame(f"a {type(frame).__name__} does not hand out its memory: {error}") from error
    tensor = _tensor(capsule, frame)
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    if (tensor.code, tensor.bits, tensor.lanes) != (UNSIGNED, 8, 1):
        raise BadFrame(
            f"a picture on the device must hold uint8 values (0 to 255), not DLPack's type {tensor.code} of "
            f"{tensor.bits} bits: convert it before"
        )
    steps = tuple(tensor.strides[axis] for axis in range(tensor.ndim)) if tensor.strides else _dense(shape)
    # The capsule is not used up: as long as it lives so does the memory, and then it frees itself.
    return DevicePicture((tensor.data or 0) + tensor.byte_offset, shape, steps, None, (capsule, frame))


def _tensor(capsule: object, frame: object) -> _Tensor:
    """What lies in a capsule.

    Raises:
        BadFrame: It is no capsule of DLPack, or was used up.
    """
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    try:
        address = pointer(capsule, b"dltensor")
    except Exception as error:
        raise BadFrame(f"the DLPack capsule of a {type(frame).__name__} cannot be read: {error}") from error
    return _Tensor.from_address(address)


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of an array without gaps."""
    steps, step = [], 1
    for side in reversed(shape):
        steps.append(step)
        step *= side
    return tuple(reversed(steps))


def _check(picture: DevicePicture, device: Device) -> None:
    shape = picture.shape
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
        raise BadFrame(f"a picture of shape {shape} on the device: it must be (H, W, 3) in BGR order or (H, W) grey")
    if not 1 <= min(shape[:2]) <= max(shape[:2]) <= MAX_SIDE:
        raise BadFrame(f"a picture of shape {shape}: both sides must be between 1 and {MAX_SIDE} pixels")
    if not device.reaches(*picture.span):
        raise outside(picture, device)
