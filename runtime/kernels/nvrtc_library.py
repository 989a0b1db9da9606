"""A libnvrtc that is given by its path, with the functions that cuda-bindings has for its own.

Every function answers as there: a tuple of the status and what it gives.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

from lineside.runtime.errors import EngineUnavailable

__all__ = ["NvrtcLibrary"]

_HANDLE = ctypes.c_void_p
_SIZE = ctypes.c_size_t


class NvrtcLibrary:
    """NVRTC through ctypes; its C interface is the same from CUDA 11.2 to 13.

    Args:
        path: The shared library; ``libnvrtc-builtins`` of the same version must lie beside it.

    Raises:
        EngineUnavailable: It cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        try:
            # Some builds look for this second part on the system's paths only; what is loaded already, they find.
            self._parts = [ctypes.CDLL(str(part)) for part in sorted(path.parent.glob("libnvrtc-builtins.so*"))]
            self._library = ctypes.CDLL(str(path))
        except OSError as error:
            raise EngineUnavailable(
                f"{path} cannot be loaded ({error}): give the libnvrtc of a CUDA installation"
            ) from error

    def nvrtcVersion(self) -> tuple[int, int, int]:  # noqa: N802  (the names are NVIDIA's)
        """Its version."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        status = self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        return status, major.value, minor.value

    def nvrtcGetSupportedArchs(self) -> tuple[int, list[int]]:  # noqa: N802
        """Numbers of the architectures that it compiles for."""
        count = ctypes.c_int()
        status = self._library.nvrtcGetNumSupportedArchs(ctypes.byref(count))
        numbers = (ctypes.c_int * count.value)()
        return status or self._library.nvrtcGetSupportedArchs(numbers), list(numbers)

    def nvrtcCreateProgram(  # noqa: N802
        self, source: bytes, name: bytes, count: int, headers: Sequence[bytes], names: Sequence[bytes]
    ) -> tuple[int, ctypes.c_void_p]:
        """A program of a source and the headers that it may include."""
        program = _HANDLE()
        texts, includes = (ctypes.c_char_p * count)(*headers), (ctypes.c_char_p * count)(*names)
        status = self._library.nvrtcCreateProgram(ctypes.byref(program), source, name, count, texts, includes)
        return status, program

    def nvrtcCompileProgram(  # noqa: N802
        self, program: ctypes.c_void_p, count: int, options: Sequence[bytes]
    ) -> tuple[int]:
        """Compiles it."""
        return (self._library.nvrtcCompileProgram(program, count, (ctypes.c_char_p * count)(*options)),)

    def nvrtcGetPTXSize(self, program: ctypes.c_void_p) -> tuple[int, int]:  # noqa: N802
        """Bytes of the PTX with the NUL at its end."""
        return self._size("nvrtcGetPTXSize", program)

    def nvrtcGetPTX(self, program: ctypes.c_void_p, into: bytearray) -> tuple[int]:  # noqa: N802
        """Writes the PTX."""
        return self._text("nvrtcGetPTX", program, into)

    def nvrtcGetCUBINSize(self, program: ctypes.c_void_p) -> tuple[int, int]:  # noqa: N802
        """Bytes of the code for one architecture."""
        return self._size("nvrtcGetCUBINSize", program)

    def nvrtcGetCUBIN(self, program: ctypes.c_void_p, into: bytearray) -> tuple[int]:  # noqa: N802
        """Writes that code."""
        return self._text("nvrtcGetCUBIN", program, into)

    def nvrtcGetProgramLogSize(self, program: ctypes.c_void_p) -> tuple[int, int]:  # noqa: N802
        """Bytes of the log with the NUL at its end."""
        return self._size("nvrtcGetProgramLogSize", program)

    def nvrtcGetProgramLog(self, program: ctypes.c_void_p, into: bytearray) -> tuple[int]:  # noqa: N802
        """Writes the log."""
        return self._text("nvrtcGetProgramLog", program, into)

    def nvrtcGetErrorString(self, status: int) -> tuple[int, bytes]:  # noqa: N802
        """The name of an error."""
        function = self._library.nvrtcGetErrorString
        function.restype = ctypes.c_char_p
        return 0, function(int(status)) or b""

    def nvrtcDestroyProgram(self, program: ctypes.c_void_p) -> tuple[int]:  # noqa: N802
        """Lets go of it."""
        return (self._library.nvrtcDestroyProgram(ctypes.byref(program)),)

    def _size(self, name: str, program: ctypes.c_void_p) -> tuple[int, int]:
        size = _SIZE()
        return getattr(self._library, name)(program, ctypes.byref(size)), size.value

    def _text(self, name: str, program: ctypes.c_void_p, into: bytearray) -> tuple[int]:
        return (getattr(self._library, name)(program, (ctypes.c_char * len(into)).from_buffer(into)),)
