"""The seam between the frame path and what executes the model on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lineside.runtime.cuda.device import Device, Stream

__all__ = ["DeviceEngine"]


class DeviceEngine(Protocol):
    """Executes a model between two kernels, on addresses that never change: TensorRT, or what stands in for it.

    Each slot of the frame path has its own, because slots run beside each other. Whoever made it knows the bundle; it
    is made before the first graph is captured, and allocates everything then.

    Attributes:
        name: Name in the table of engines.
        device: What it executes on.
        input_address: Begin of its input, float32 ``(batch, 3, h, w)``, in memory of ``device``.
    """

    name: str
    device: Device
    input_address: int

    @property
    def output_addresses(self) -> Sequence[int]:
        """Begin of each output, in the order of the head contract, float32.

        They are C-contiguous, so picture i of the batch lies i times the bytes of one picture behind.
        """

    @property
    def output_shapes(self) -> Sequence[tuple[int, ...]]:
        """Full shape of each output, with the batch."""

    def warm(self, stream: Stream) -> None:
        """Enqueues, outside of any capture, whatever the first run of an engine sets up; called once, and waited for.

        Args:
            stream: Where.

        Raises:
            EngineFailed: The engine refuses, or is closed.
        """

    def enqueue(self, stream: Stream, count: int | None = None) -> None:
        """Enqueues one run; may be captured, so it neither allocates nor synchronises.

        Args:
            stream: Where.
            count: Pictures to execute, from the first of the batch; None: all. A static engine always executes all.

        Raises:
            EngineFailed: The engine refuses, or is closed.
        """

    def close(self) -> None:
        """Frees what the engine holds, its input and outputs too; a second call does nothing."""
