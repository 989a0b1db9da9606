"""Hands the newest shot to every page that is ready for one, and to nobody else.

Three parties meet here, and none waits for another: the inspection puts its newest frame (`Hub.show`, constant time),
the painter encodes it once per size while someone watches, and the server's event loop sends it. A page acknowledges a
picture once it has drawn it; until then it is sent nothing, so a slow or hidden page skips frames and nothing queues.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from lineside.pipelines.frame import Frame
from lineside.pipelines.view.encoder import WIRE_WIDTH, Shot, encode
from lineside.pipelines.view.painter import Painter
from lineside.runtime.detections import Detections

__all__ = ["LARGE", "MOST_CLIENTS", "SMALL", "Client", "Hub", "Size"]

LOG = logging.getLogger(__name__)

MOST_CLIENTS = 64
"""Pages that may watch at once; each of them costs a picture of memory."""


@dataclass(frozen=True)
class Size:
    """How pictures are sent.

    Attributes:
        width: Widest picture, pixels.
        gap: Least time between two, seconds, so that watching a fast run costs it little.
    """

    width: int
    gap: float


LARGE = Size(WIRE_WIDTH, 1 / 30)
"""A picture that is looked at."""
SMALL = Size(480, 1 / 8)
"""One of many on a page."""


class Client:
    """One open page: a place for the next picture, and a word that something else has changed.

    `ready` and `seen` belong to the hub's lock, everything else to the event loop.

    Args:
        loop: The server's event loop.
        size: How the page wants its pictures.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, size: Size = LARGE) -> None:
        self.loop = loop
        self.size = size
        self.ready = True
        self.seen = 0
        self.dismissed = False
        """Whether nothing more will come, so that the page is to be told good-bye."""
        self._news = asyncio.Event()
        self._picture: bytes | None = None

    def post(self, picture: bytes | None = None) -> None:
        """Puts in a picture, or only says that there is news; call on the event loop."""
        if picture is not None:
            self._picture = picture
        self._news.set()

    def dismiss(self) -> None:
        """Says that nothing more will come; call on the event loop."""
        self.dismissed = True
        self._news.set()

    async def next(self, timeout: float) -> bytes | None:
        """Waits for news, no longer than `timeout` seconds, and takes the picture if there is one."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._news.wait(), timeout)
        self._news.clear()
        picture, self._picture = self._picture, None
        return picture


class Hub:
    """The newest shot and the pages that watch.

    Args:
        painter: Who encodes, as long as it runs.
    """

    def __init__(self, painter: Painter) -> None:
        self._changed = painter.changed
        self._shot: Shot | None = None
        self._clients: set[Client] = set()
        self._next: dict[Size, float] = {}
        self._closed = False
        painter.serve(self)

    def close(self) -> None:
        """Gives the newest shot back and takes no other. Safe to call twice."""
        with self._changed:
            self._closed = True
            shot, self._shot = self._shot, None
        if shot is not None:
            shot.frame.release()

    @contextmanager
    def newest(self) -> Iterator[Shot | None]:
        """The newest shot, None before the first; its pixels stay valid inside the ``with``."""
        with self._changed:
            shot = self._shot
            if shot is not None:
                shot.frame.hold()
        try:
            yield shot
        finally:
            if shot is not None:
                shot.frame.release()

    def show(self, frame: Frame, detections: Detections | None, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Makes a frame the newest shot and holds its pixels until a newer one comes. Never waits for a page.

        Args:
            frame: A frame with pixels.
            detections: What was found in it; None where nobody looked.
            facts: Gives further JSON values for the page; called only if the frame is painted.
        """
        frame.hold()
        with self._changed:
            old = self._shot
            self._shot = Shot(old.version + 1 if old else 1, frame, detections, facts)
            if self._closed:
                old, self._shot = self._shot, None
            if self._waiting(self._shot):
                self._changed.notify_all()
        if old is not None:
            old.frame.release()

    def join(self, client: Client) -> bool:
        """A page opened: it gets the newest shot at once. False where too many are open already."""
        with self._changed:
            if len(self._clients) >= MOST_CLIENTS:
                return False
            self._clients.add(client)
            self._changed.notify_all()
            return True

    def leave(self, client: Client) -> None:
        """A page closed."""
        with self._changed:
            self._clients.discard(client)
            self._changed.notify_all()

    def acknowledge(self, client: Client, version: int) -> None:
        """A page has drawn the picture of that version and may be sent the next."""
        with self._changed:
            if version == client.seen:
                client.ready = True
                self._changed.notify_all()

    def announce(self) -> None:
        """Tells every page that the state has changed. Any thread may call this."""
        for client in self._open():
            _call(client, client.post)

    def dismiss(self, timeout: float) -> None:
        """Tells every page that nothing more will come, and waits until they have been told, no longer than `timeout`."""
        for client in self._open():
            _call(client, client.dismiss)
        with self._changed:
            self._changed.wait_for(lambda: not self._clients, timeout)

    def _open(self) -> list[Client]:
        with self._changed:
            return list(self._clients)

    def _waiting(self, shot: Shot | None) -> list[Client]:
        """Pages that are ready for a shot; holds the lock."""
        return [] if shot is None else [it for it in self._clients if it.ready and it.seen < shot.version]

    def due(self) -> float | None:
        """See `Painted.due`."""
        return min((self._next.get(client.size, 0.0) for client in self._waiting(self._shot)), default=None)

    def paint(self) -> None:
        """See `Painted.paint`: the size that is due first, once for all pages that want it."""
        with self.newest() as shot:
            with self._changed:
                waiting = self._waiting(shot)
                if shot is None or not waiting:
                    return
                size = min((client.size for client in waiting), key=lambda it: self._next.get(it, 0.0))
                self._next[size] = time.monotonic() + size.gap
                takers = [client for client in waiting if client.size == size]
                for client in takers:
                    client.ready, client.seen = False, shot.version
            try:
                message = encode(shot, size.width)
            except Exception:  # one odd picture must not end the view; the page keeps the one before
                LOG.exception("picture %d could not be drawn for the page", shot.frame.sequence)
                with self._changed:
                    for client in takers:
                        client.ready = True
                return
        for client in takers:
            _call(client, client.post, message)


def _call(client: Client, method: Callable[..., None], *words: bytes) -> None:
    """Calls a method of a page on its event loop."""
    with suppress(RuntimeError):  # the loop is already closed: the page is gone with it
        client.loop.call_soon_threadsafe(method, *words)
