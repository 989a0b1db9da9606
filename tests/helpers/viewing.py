"""A running graph with its page, and a client of that page which is no browser."""

from __future__ import annotations

import json
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
from websockets import Origin
from websockets.sync.client import ClientConnection, connect

import lineside
from lineside.pipelines.elements import Source
from lineside.pipelines.events import Bus
from lineside.pipelines.graph import Graph
from lineside.pipelines.segment import Segment
from lineside.pipelines.settings import Settings
from lineside.pipelines.sources.memory import Memory
from lineside.pipelines.sources.paced import Paced
from lineside.pipelines.view import View, start_view

PATIENCE = 20.0
"""Longest wait for anything, in seconds; reached only where a test fails."""
CELL = 80
"""Side of one cell of the tiny model's finest level in a picture of 640 pixels."""


def picture(*blocks: tuple[int, int, tuple[int, int, int]], size: tuple[int, int] = (640, 640)) -> np.ndarray:
    """A dark picture with bright squares, one cell of the tiny model each: (column, row, BGR)."""
    image = np.full((*size, 3), 40, np.uint8)
    for column, row, colour in blocks:
        image[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = colour
    return image


RED, GREEN, PALE = (150, 150, 255), (150, 255, 150), (140, 140, 210)
"""Found as class 0, as class 1, and as class 0 with a low score."""
PARTS = picture((1, 1, RED), (5, 2, GREEN), (3, 6, PALE))


@dataclass
class Station:
    """A graph and its page."""

    view: View
    graph: Graph
    settings: Settings
    bus: Bus

    @property
    def port(self) -> int:
        return int(self.view.url.rstrip("/").rpartition(":")[2])

    @property
    def origin(self) -> str:
        return self.view.url.rstrip("/")

    def http(self, **headers: str) -> httpx.Client:
        """A client that says it is the page itself, unless told to say something else."""
        return httpx.Client(base_url=self.origin, headers={"origin": self.origin, **headers}, timeout=PATIENCE)

    def watch(self) -> AbstractContextManager[Watcher]:
        return watch(self.view)


@contextmanager
def watch(view: View) -> Iterator[Watcher]:
    """An open page without a browser."""
    where = view.url.replace("http", "ws", 1) + "ws"
    origin = Origin(view.url.rstrip("/"))
    with connect(where, origin=origin, open_timeout=PATIENCE, max_size=None) as socket:
        yield Watcher(socket)


class Watcher:
    """An open page without a browser: reads messages, and acknowledges pictures when told to."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._state: dict[str, Any] | None = None
        self._pictures: deque[tuple[dict[str, Any], np.ndarray]] = deque()

    def read(self) -> bool:
        """Reads one message; True for a picture."""
        data = self._socket.recv(timeout=PATIENCE)
        if isinstance(data, str):
            self._state = json.loads(data)
            return False
        length = struct.unpack("<I", data[:4])[0]
        pixels = cv2.imdecode(np.frombuffer(data[4 + length :], np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        self._pictures.append((json.loads(data[4 : 4 + length]), pixels))
        return True

    def state(self, wanted: Callable[[dict[str, Any]], bool] = lambda state: True) -> dict[str, Any]:
        """The newest state, or the first to come that is as wanted."""
        while self._state is None or not wanted(self._state):
            self.read()
        return self._state

    def picture(self) -> tuple[dict[str, Any], np.ndarray]:
        """The next picture: its JSON and its pixels."""
        while not self._pictures:
            self.read()
        return self._pictures.popleft()

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Acknowledges pictures until one is as wanted, which is left to the caller."""
        while not wanted(head := self.picture()[0]):
            self.acknowledge(head)
        return head

    def acknowledge(self, head: dict[str, Any]) -> None:
        self._socket.send(json.dumps({"ack": head["version"]}))

    def send(self, text: str | bytes) -> None:
        self._socket.send(text)


@contextmanager
def station(
    bundles: Sequence[Path], source: Source | None = None, *, settings: Settings | None = None, port: int = 0
) -> Iterator[Station]:
    """A graph that runs with its page, until the end of the ``with``.

    Args:
        bundles: Bundles of the page, the running one first.
        source: Where frames come from; one still picture when None.
        settings: Live settings.
        port: Port of the page.
    """
    settings, bus = settings or Settings(), Bus()
    with ExitStack() as stack:
        graph: Graph
        view = start_view(settings, lambda: graph.flow.counters.snapshot(), bus, bundles=bundles, port=port)
        stack.callback(view.close)
        transform = Segment(lineside.load(bundles[0], threads=1), settings, bus=bus, load=lineside.load)
        graph = Graph(source or Memory([PARTS], 1, names=["parts.png"]), transform, [view.sink], bus=bus)
        graph.start()
        stack.callback(graph.close)
        yield Station(view, graph, settings, bus)


def camera(pictures: Sequence[np.ndarray] = (PARTS,), takt_ms: float = 20.0) -> Source:
    """A camera that gives a picture every so many milliseconds, without end."""
    return Paced(Memory(pictures, name="camera"), round(takt_ms * 1e6))


def threads_of_the_view() -> list[str]:
    """Names of all threads that a view has started and that still run."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("lineside-view")]
