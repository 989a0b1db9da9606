"""What the server's C code calls back: somebody connects, begins to watch, has gone."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from ctypes import CFUNCTYPE, c_int, c_void_p
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from lineside.pipelines.gst.library import library
from lineside.pipelines.gst.rtsp.encoders import INPUT
from lineside.pipelines.gst.rtsp.library import rtsp_library

__all__ = ["Calls", "Guests", "Mount", "Shown", "calls", "enter", "leave"]

T = TypeVar("T")

_REMOVE = 0
"""``GST_RTSP_FILTER_REMOVE``."""
_OF_TWO = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p)
_OF_ONE = CFUNCTYPE(None, c_void_p, c_void_p)
_FILTER = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p)


class Shown(Protocol):
    """Who gives the pictures under one path. Called from the server's threads; must return soon and not raise."""

    def begin(self, media: int, source: int) -> None:
        """Somebody begins to watch.

        Args:
            media: Which showing it is.
            source: The appsrc that takes the pictures; the reference belongs to the callee.
        """
        ...

    def end(self, media: int) -> None:
        """A showing is over: nobody watches it any more."""
        ...


class Mount:
    """One path.

    Args:
        shown: Who gives its pictures.

    Attributes:
        media: What is made for those who watch at the moment, by its address.
    """

    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self.media: set[int] = set()


class Guests:
    """Those who are connected to a server.

    They are sent away by the end of what is to be read of them. Then the library's thread that talks with one closes it;
    a connection that somebody else closes meanwhile is read by that thread for ever.

    Args:
        most: How many may be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._sockets: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._sockets)

    def come(self, client: int) -> bool:
        """Somebody has connected; one too many is sent away at once.

        Args:
            client: Its address.

        Returns:
            Whether it may stay.
        """
        rtsp = rtsp_library()
        socket = rtsp.gst_rtsp_connection_get_read_socket(rtsp.gst_rtsp_client_get_connection(client))
        with self._lock:
            if len(self._sockets) < self._most:
                self._sockets[client] = rtsp.g_object_ref(socket)
                return True
        rtsp.g_socket_shutdown(socket, 1, 1, None)
        return False

    def go(self, client: int) -> None:
        """Somebody has gone.

        Args:
            client: Its address.
        """
        with self._lock:
            socket = self._sockets.pop(client, None)
        if socket is not None:
            library().g_object_unref(socket)

    def dismiss(self) -> None:
        """Sends all away, and whoever comes from now on."""
        with self._lock:
            self._most = 0
            for socket in self._sockets.values():
                rtsp_library().g_socket_shutdown(socket, 1, 1, None)

    def forget(self) -> None:
        """Lets go of those who did not go."""
        for client in list(self._sockets):
            self.go(client)


@dataclass(frozen=True)
class Calls:
    """The functions for C code.

    Attributes:
        configure: Signal ``media-configure`` of a factory, with the number of a `Mount`.
        unprepared: Signal ``unprepared`` of what a factory made, with the same.
        connected: Signal ``client-connected`` of a server, with the number of its `Guests`.
        closed: Signal ``closed`` of a client, with the same.
        remove: Filter that lets nobody stay.
    """

    configure: Any
    unprepared: Any
    connected: Any
    closed: Any
    remove: Any


_known: dict[int, Mount | Guests] = {}
"""By number: C code has the number and not the object, so that a late call finds nothing instead of what is no more."""
_numbers = itertools.count(1)
_made: list[Calls] = []


def enter(thing: Mount | Guests) -> int:
    """Gives something that calls are about its number."""
    key = next(_numbers)
    _known[key] = thing
    return key


def leave(key: int) -> None:
    """Forgets what goes by a number; calls about it do nothing from now on."""
    _known.pop(key, None)


def calls() -> Calls:
    """One set for all servers, which lives as long as the process: C code has it."""
    if not _made:
        _made.append(
            Calls(
                _OF_TWO(_about(Mount, _configure)),
                _OF_ONE(_about(Mount, _unprepared)),
                _OF_TWO(_about(Guests, _connected)),
                _OF_ONE(_about(Guests, _closed)),
                _FILTER(lambda owner, thing, data: _REMOVE),
            )
        )
    return _made[0]


def _about(kind: type[T], call: Callable[[T, int, int], None]) -> Callable[..., None]:
    """A call about something that goes by the number in its last argument, and the thing named before that."""

    def called(*arguments: int) -> None:
        *_, thing, key = arguments
        found = _known.get(key)
        if isinstance(found, kind):
            call(found, thing, key)

    return called


def _configure(mount: Mount, media: int, key: int) -> None:
    """Something was made for somebody who begins to watch."""
    gst = library()
    element = rtsp_library().gst_rtsp_media_get_element(media)
    source = gst.gst_bin_get_by_name(element, INPUT.encode())
    gst.gst_object_unref(element)
    mount.media.add(media)
    gst.g_signal_connect_data(media, b"unprepared", calls().unprepared, key, None, 0)
    mount.shown.begin(media, source)


def _unprepared(mount: Mount, media: int, key: int) -> None:
    """Its pipeline is down."""
    if media in mount.media:
        mount.shown.end(media)
        mount.media.discard(media)


def _connected(guests: Guests, client: int, key: int) -> None:
    """Somebody has connected."""
    if guests.come(client):
        library().g_signal_connect_data(client, b"closed", calls().closed, key, None, 0)


def _closed(guests: Guests, client: int, key: int) -> None:
    """Somebody has gone."""
    guests.go(client)
