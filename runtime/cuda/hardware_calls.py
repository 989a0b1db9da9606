"""Calls of CUDA: refused where the device is closed or lost, every answer read, and a loss remembered."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lineside.runtime.errors import DeviceLost, EngineFailed

if TYPE_CHECKING:
    from lineside.runtime.cuda.library import Library

__all__ = ["Calls"]


class Calls:
    """The way of one device to CUDA, for any number of threads.

    Args:
        library: CUDA.

    Attributes:
        library: As given.
        runtime: Its ``cuda.bindings.runtime``.
        driver: Its ``cuda.bindings.driver``.
        closed: Whether nothing may be called any more.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self.runtime, self.driver = library.runtime, library.driver
        self.closed = False
        self._lost: str | None = None
        self._capturing = threading.local()

    def __call__(self, function: Callable[..., Any], what: str, *arguments: Any) -> Any:
        """Calls a function of either module; as `Library.read`.

        Args:
            function: What to call.
            what: What that is, for people.
            arguments: What it takes.
        """
        self.alive()
        with self.remembering():
            return self.library.read(function(*arguments), what)

    def alive(self) -> None:
        """Refuses a device that is closed or lost.

        Raises:
            EngineFailed: It is closed.
            DeviceLost: It was lost, with the sentence of then.
        """
        if self.closed:
            raise EngineFailed("this device is closed: load the bundle again")
        if self._lost is not None:
            raise DeviceLost(self._lost)

    def ready(self, what: str) -> None:
        """Refuses what may not be done within a capture, before CUDA makes the capture void.

        Args:
            what: What is refused, as the begin of a sentence.

        Raises:
            EngineFailed: This thread captures a graph; or as `alive`.
        """
        self.alive()
        if getattr(self._capturing, "on", False):
            raise EngineFailed(f"{what} while a graph is captured: do it before")

    @contextlib.contextmanager
    def remembering(self) -> Iterator[None]:
        """A loss that shows within stays: everything from now on says the same sentence."""
        try:
            yield
        except DeviceLost as error:
            self._lost = self._lost or str(error)
            raise

    @contextlib.contextmanager
    def capturing(self) -> Iterator[None]:
        """While it is open, the calling thread captures a graph."""
        self._capturing.on = True
        try:
            yield
        finally:
            self._capturing.on = False
