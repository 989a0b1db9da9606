"""The sink ``rtsp-server``: the pictures of each source over the network, with what was found drawn onto them."""

from __future__ import annotations

import ipaddress
import threading
import time
from typing import Annotated, Any
from urllib.parse import quote

import msgspec

from lineside.pipelines.catalog import Options, Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.frame import Frame
from lineside.pipelines.gst.rtsp.encoders import Encoder, serving
from lineside.pipelines.gst.rtsp.server import Login, Server
from lineside.pipelines.gst.rtsp.showing import Showing
from lineside.pipelines.secrets import secret

__all__ = ["RtspServed", "RtspServer", "make"]

_LOOK = 0.1
"""Seconds between two looks at those who watch."""
_TIDY = 1.0
"""Seconds between two looks at those who have gone without a word."""
_END = 5.0
"""Seconds that clients and encoders have to end."""


class RtspServed(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Live pictures for players, recorders and other stations: ``rtsp://address:port/SOURCE``.

    H.264 by the machine's own circuits where it has some. Nothing is encoded while nobody watches.

    Attributes:
        port: Port; 0 takes any that is free. It is told when the first picture comes.
        address: Address of this machine to listen at. Any but the loopback's is open to others on the network, and needs
            user and password.
        user: Who may watch; ``env:NAME`` takes it from an environment variable. Empty for everybody on this machine.
        password: The password that goes with it, or ``env:NAME``.
        bitrate: kbit/s of each source.
        fps: Most pictures per second; 0 for all.
        width: Wider pictures are made smaller; pixels.
        draw: Whether to draw what was found.
        encoder: Which encoder; ``auto`` takes the first of these that is there.
        watchers: How many may watch at once, of all sources.
    """

    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    address: Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[^\s\x00/@]+$")] = "127.0.0.1"
    user: Annotated[str, msgspec.Meta(pattern=r"^(env:)?[^\x00\":]*$")] = ""
    password: Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$")] = ""
    bitrate: Annotated[int, msgspec.Meta(ge=50, le=200_000)] = 4000
    fps: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.0
    width: Annotated[int, msgspec.Meta(ge=32, le=8192)] = 1920
    draw: bool = True
    encoder: Encoder = "auto"
    watchers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8

    def __post_init__(self) -> None:
        """Refuses to show pictures to a whole network without a password."""
        if bool(self.user) != bool(self.password):
            raise ValueError("user and password go together; give both or none")
        if not self.user and not _own(self.address):
            raise ValueError(
                f"at {self.address} others on the network see the pictures: give user and password "
                "(env:NAME takes one from an environment variable), or leave out address"
            )

    def __repr__(self) -> str:
        """Without the credentials."""
        return f"RtspServed(address={self.address!r}, port={self.port})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Without the credentials, for those who print with colours."""
        return [("address", self.address), ("port", self.port)]


def _own(address: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def make(options: RtspServed, place: Place) -> RtspServer:
    """Makes the sink.

    Raises:
        BadOption: User or password is to come from an environment variable that there is not.
    """
    login = Login(secret(options.user), secret(options.password)) if options.user else None
    return RtspServer(options, login, place)


class RtspServer:
    """Serves the pictures of every source that leads to it, each under its name, from its first picture on.

    A slow or hanging client loses pictures and holds up nobody: two pictures wait in front of an encoder, a hundred
    packets in front of a client, and what is more is dropped.

    Args:
        options: What it is told.
        login: Who may watch; None for everybody who reaches it.
        place: Where it stands.
    """

    takes_failed = False

    def __init__(self, options: RtspServed, login: Login | None, place: Place) -> None:
        self.name = place.name or "rtsp-server"
        self.showings: dict[str, Showing] = {}
        """By source: what is shown of it."""
        self._options = options
        self._login = login
        self._bus = place.bus
        self._description = ""
        self._server: Server | None = None
        self._stop = threading.Event()
        self._minder = threading.Thread(target=self._mind, name=f"{self.name} watchers", daemon=True)

    @property
    def port(self) -> int:
        """The port, once open."""
        assert self._server is not None, "the sink is open"
        return self._server.port

    def open(self, stream: StreamInfo) -> None:
        """See `Sink.open`.

        Raises:
            MissingPackage: GStreamer, its RTSP server or an encoder is not installed.
            SinkError: Address and port cannot be listened at.
        """
        told = self._options
        self._description = serving(told.encoder, told.bitrate)
        self._server = Server(told.address, told.port, watchers=told.watchers, login=self._login, name=self.name)
        self._minder.start()

    def write(self, frame: Frame) -> None:
        """See `Sink.write`."""
        showing = self.showings.get(frame.source)
        if showing is not None:
            showing.show(frame)
            return
        told = self._options
        showing = Showing(fps=told.fps, width=told.width, draw=told.draw)
        showing.show(frame)
        self._mount(frame.source, showing)
        self.showings = {**self.showings, frame.source: showing}  # another thread walks through the old one

    def _mount(self, source: str, showing: Showing) -> None:
        """Adds a source under its name."""
        assert self._server is not None, "the sink is open"
        path = f"/{quote(source, safe='')}"
        self._server.mount(path, self._description, showing)
        host = self._options.address
        url = f"rtsp://{f'[{host}]' if ':' in host else host}:{self.port}{path}"
        self._bus.emit("info", self.name, "serving", f"{self.name}: {source} can be watched at {url}")

    def _mind(self) -> None:
        """Thread that sees to those who watch while no picture comes."""
        due = time.monotonic()
        while not self._stop.wait(_LOOK):
            for showing in self.showings.values():
                showing.look()
            if self._server is not None and time.monotonic() >= due:
                due = time.monotonic() + _TIDY
                self._server.tidy()

    def close(self, missing: int = 0) -> None:
        """See `Sink.close`. A client or encoder that does not end within seconds is told and left behind."""
        self._stop.set()
        if self._minder.is_alive():
            self._minder.join(_END)
        server, self._server = self._server, None
        if server is not None and not server.stop(_END):
            self._bus.emit(
                "error",
                self.name,
                "hung",
                f"{self.name}: a client or encoder did not end within {_END:g} s; left behind",
            )
