"""Hands the newest shot to every page that is ready for one, and to nobody else.

Three parties meet here, and none waits for another: the inspection puts its newest frame (`Hub.show`, constant time),
the painter thread encodes it once while someone watches, and the server's event loop sends it. A page acknowledges a
picture once it has drawn it; until then it is sent nothing, so a slow or hidden page skips frames and nothing queues.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from lineside.pipelines.frame import Frame
from lineside.pipelines.view.encoder import Shot, encode
from lineside.runtime.detections import Detections

__all__ = ["Client", "Hub"]

LOG = logging.getLogger(__name__)


class Client:
    """One open page: a place for the next picture, and a word that something else has changed.

    `ready` and `seen` belong to the hub's lock, everything else to the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.ready = True
        self.seen = 0
        self._news = asyncio.Event()
        self._picture: bytes | None = None

    def post(self, picture: bytes | None = None) -> None:
        """Puts in a picture, or only says that there is news; call on the event loop."""
        if picture is not None:
            self._picture = picture
        self._news.set()

    async def next(self, timeout: float) -> bytes | None:
        """Waits for news, no longer than `timeout` seconds, and takes the picture if there is one."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._news.wait(), timeout)
        self._news.clear()
        picture, self._picture = self._picture, None
        return picture


class Hub:
    """The newest shot, the pages that watch, and the painter between them.

    Args:
        max_rate: Most pictures painted per second, so that watching a fast run costs it little.
    """

    def __init__(self, max_rate: float = 30.0) -> None:
        self._gap = 1.0 / max_rate
        self._changed = threading.Condition()
        self._shot: Shot | None = None
        self._clients: set[Client] = set()
        self._closed = False
        self._painted = 0
        self._thread = threading.Thread(target=self._paint, name="lineside-view-painter", daemon=True)

    def start(self) -> None:
        """Starts the painter."""
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Stops the painter, waiting no longer than `timeout` seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout)
        with self._changed:
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

    @property
    def painted(self) -> int:
        """How many pictures were encoded since the start."""
        with self._changed:
            return self._painted

    @property
    def watchers(self) -> int:
        """How many pages are open."""
        with self._changed:
            return len(self._clients)

    def show(self, frame: Frame, detections: Detections, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Makes a frame the newest shot and holds its pixels until a newer one comes. Never waits for a page.

        Args:
            frame: A frame with pixels.
            detections: What was found in it.
            facts: Gives further JSON values for the page; called only if the frame is painted.
        """
        frame.hold()
        with self._changed:
            old = self._shot
            self._shot = Shot(old.version + 1 if old else 1, frame, detections, facts)
            if self._closed:
                old, self._shot = self._shot, None
            self._changed.notify_all()
        if old is not None:
            old.frame.release()

    def join(self, client: Client) -> None:
        """A page opened: it gets the newest shot at once."""
        with self._changed:
            self._clients.add(client)
            self._changed.notify_all()

    def leave(self, client: Client) -> None:
        """A page closed."""
        with self._changed:
            self._clients.discard(client)

    def acknowledge(self, client: Client, version: int) -> None:
        """A page has drawn the picture of that version and may be sent the next."""
        with self._changed:
            if version == client.seen:
                client.ready = True
                self._changed.notify_all()

    def announce(self) -> None:
        """Tells every page that the state has changed. Any thread may call this."""
        with self._changed:
            clients = list(self._clients)
        for client in clients:
            self._post(client, None)

    def _waiting(self) -> bool:
        shot = self._shot
        return shot is not None and any(client.ready and client.seen < shot.version for client in self._clients)

    def _paint(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting())
                if self._closed:
                    return
                started = time.monotonic()
            self._paint_newest()
            with self._changed:
                self._changed.wait_for(lambda: self._closed, timeout=max(0.0, self._gap - (time.monotonic() - started)))

    def _paint_newest(self) -> None:
        with self.newest() as shot:
            if shot is None:
                return
            with self._changed:
                takers = [client for client in self._clients if client.ready and client.seen < shot.version]
                for client in takers:
                    client.ready, client.seen = False, shot.version
                self._painted += 1
            try:
                message = encode(shot)
            except Exception:  # one odd picture must not end the view; the page keeps the one before
                LOG.exception("picture %d could not be drawn for the page", shot.frame.sequence)
                with self._changed:
                    for client in takers:
                        client.ready = True
                return
        for client in takers:
            self._post(client, message)

    @staticmethod
    def _post(client: Client, picture: bytes | None) -> None:
        with suppress(RuntimeError):  # the loop is already closed: the page is gone with it
            client.loop.call_soon_threadsafe(client.post, picture)
