"""Work for a stream of the host device: checked as CUDA checks it when it is asked for, and again when it runs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING

from lineside.runtime.cuda.device import Address
from lineside.runtime.cuda.host_stream import Work
from lineside.runtime.errors import EngineFailed
from lineside.runtime.kernels.limits import check_launch

if TYPE_CHECKING:
    from lineside.runtime.cuda.host_memory import HostMemory
    from lineside.runtime.kernels.host import HostFunction
    from lineside.runtime.kernels.kernel import Launch

__all__ = ["HostWork"]


class HostWork:
    """Makes work on some memory; nothing of it runs yet.

    Args:
        memory: All that may be touched.
        inspect: Called with ``run NAME`` before each piece of work, in the stream's thread; None: nobody looks.
    """

    def __init__(self, memory: HostMemory, inspect: Callable[[str], None] | None) -> None:
        self._memory = memory
        self._inspect = inspect

    def launch(self, function: HostFunction, launch: Launch) -> Work:
        """A kernel on a grid.

        Args:
            function: The kernel, built.
            launch: What is asked for.

        Raises:
            EngineFailed: A GPU would refuse it.
        """
        check_launch(launch, function.shared)
        pointers = [
            int(value)
            for parameter, value in zip(launch.kernel.parameters, launch.arguments, strict=True)
            if parameter.kind == "pointer" and value
        ]

        def run() -> None:
            for pointer in pointers:
                if self._memory.find(pointer) is None:
                    raise RuntimeError(f"an illegal address, {pointer:#x}")
            try:
                function(launch)
            except EngineFailed as error:  # it was not refused but broke while it ran
                raise RuntimeError(str(error)) from error

        return Work(launch.kernel.name, self._watched(launch.kernel.name, run))

    def copy(self, target: Address, source: Address, nbytes: int) -> Work:
        """A copy between two blocks of memory; as `Device.copy`.

        Raises:
            EngineFailed: One of them is not there or too small.
        """
        to, come = self._memory.range(target, nbytes, "a copy"), self._memory.range(source, nbytes, "a copy")
        into, out = _address(target), _address(source)

        def run() -> None:
            if self._memory.find(into, nbytes) is not to or self._memory.find(out, nbytes) is not come:
                raise RuntimeError("an illegal address: memory of a copy was freed meanwhile")
            ctypes.memmove(into, out, nbytes)

        return Work(
            "a copy",
            self._watched("copy", run),
            to_host=nbytes if come.where == "device" and to.where != "device" else 0,
            to_device=nbytes if come.where != "device" and to.where == "device" else 0,
        )

    def fill(self, target: Address, value: int, nbytes: int) -> Work:
        """The setting of bytes to one value; as `Device.fill`.

        Raises:
            EngineFailed: The memory is not there or too small.
        """
        held, into = self._memory.range(target, nbytes, "a fill"), _address(target)

        def run() -> None:
            if self._memory.find(into, nbytes) is not held:
                raise RuntimeError("an illegal address: memory that was to be filled was freed meanwhile")
            ctypes.memset(into, value, nbytes)

        return Work("a fill", self._watched("fill", run))

    def call(self, label: str, function: Callable[[], None]) -> Work:
        """A function of the host.

        Args:
            label: What it is, for people.
            function: What it does.
        """
        return Work(label, self._watched(label, function))

    def _watched(self, label: str, run: Callable[[], None]) -> Callable[[], None]:
        inspect = self._inspect
        if inspect is None:
            return run

        def watched() -> None:
            inspect(f"run {label}")
            run()

        return watched


def _address(target: Address) -> int:
    return target if isinstance(target, int) else target.address
