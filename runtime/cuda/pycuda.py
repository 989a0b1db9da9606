"""A context, a stream and arrays of pycuda's are taken over: ``lineside.load(..., device=PycudaDevice(context, stream))``.

Nothing of pycuda is imported here: it is what it hands out that is used. Its arrays show ``__cuda_array_interface__``
and are read where they lie; they are waited for on the given stream. It was never run with pycuda on a GPU: see
docs/tensorrt.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from lineside.runtime.cuda.hardware import HardwareDevice

__all__ = ["PycudaContext", "PycudaDevice", "PycudaStream"]


class PycudaContext(Protocol):
    """What is used of a ``pycuda.driver.Context``."""

    def push(self) -> None:
        """Makes it current in the calling thread."""

    def pop(self) -> None:
        """Makes the one before current again."""


class PycudaStream(Protocol):
    """What is used of a ``pycuda.driver.Stream``.

    Attributes:
        handle: The ``CUstream`` as an integer.
    """

    handle: int


class PycudaDevice(HardwareDevice):
    """The GPU of a context that pycuda made; the context stays the caller's.

    Args:
        context: Current in the calling thread or not; it may live in any.
        stream: On which the caller makes its pictures; None: on none, they are there when the model is called.

    Raises:
        EngineUnavailable: cuda-bindings is not installed.
    """

    def __init__(self, context: PycudaContext, stream: PycudaStream | None = None) -> None:
        self._context = context
        super().__init__()
        self.before = None if stream is None else self.adopt(int(stream.handle))

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        """The caller's context in the place of the GPU's own."""
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()
