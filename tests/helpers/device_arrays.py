"""Arrays as CuPy, torch or pycuda show them, in the memory of a host device: both doors of `lineside.runtime.cuda.arrays`."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from lineside.runtime.cuda.host import HostDevice

__all__ = ["Dlpack", "Interface", "place"]


def place(device: HostDevice, array: npt.NDArray[Any]) -> tuple[Any, int]:
    """Puts an array into device memory with its strides.

    Returns:
        The buffer, which must be held, and the address of the first element.
    """
    reach = [(side - 1) * step for side, step in zip(array.shape, array.strides, strict=True)]
    low, high = sum(min(0, step) for step in reach), sum(max(0, step) for step in reach) + array.itemsize
    buffer = device.allocate(high - low)
    view = np.ndarray(array.shape, array.dtype, buffer.inside(), -low, array.strides)
    view[...] = array
    return buffer, buffer.address - low


class Interface:
    """Shows ``__cuda_array_interface__``."""

    def __init__(self, device: HostDevice, array: npt.NDArray[Any], version: int = 3, **more: Any) -> None:
        self.held, address = place(device, array)
        dense = array.flags.c_contiguous
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (address, True),
            "version": version,
            "strides": None if dense else array.strides,
            **more,
        }


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64),
        ("manager", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
    )  # fmt: skip


class Dlpack:
    """Shows ``__dlpack__``: a capsule whose strides count elements, with a byte offset.

    Attributes:
        streams: For which streams a capsule was asked.
        name: Name of the capsules.
    """

    def __init__(self, device: HostDevice, array: npt.NDArray[Any], kind: int = 2) -> None:
        self.held, address = place(device, array)
        self.streams: list[int] = []
        self.name = b"dltensor"
        self._kind = kind
        self._shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        self._strides = (ctypes.c_int64 * array.ndim)(*(step // array.itemsize for step in array.strides))
        dense = array.flags.c_contiguous
        self._tensor = _Tensor(
            address - 16, kind, 0, array.ndim, {"u": 1, "f": 2, "i": 0}[array.dtype.kind], array.itemsize * 8, 1,
            ctypes.addressof(self._shape), None if dense else ctypes.addressof(self._strides), 16, None, None,
        )  # fmt: skip

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._kind, 0

    def __dlpack__(self, stream: int | None = None) -> object:
        self.streams.append(stream or 0)
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        made: object = make(ctypes.addressof(self._tensor), self.name, None)
        return made
