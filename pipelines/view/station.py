"""The element ``view``: the page of a station, on this machine only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import msgspec

from lineside.pipelines.catalog import Options, Place
from lineside.pipelines.elements import StreamInfo
from lineside.pipelines.events import Event
from lineside.pipelines.facts import Facts
from lineside.pipelines.frame import Frame
from lineside.pipelines.units import parse_time
from lineside.pipelines.view import require
from lineside.pipelines.view.painter import Painter
from lineside.runtime.errors import SinkError

if TYPE_CHECKING:
    from lineside.pipelines.view.board import Board

__all__ = ["Page", "StationView", "make"]

SHARE = 0.5
"""Share of one core that all pictures of the page may cost together."""
GOODBYE = 1.0
"""Seconds that pages may take to be told that the station has ended."""


class Page(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the page is, and what it takes for a live picture.

    Attributes:
        port: Its port on this machine; 0 takes any free one.
        old: Age from which a picture is no live one, such as ``2s``; three periods of its camera where those are longer.
    """

    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    old: Annotated[str, msgspec.Meta(min_length=1)] = "2s"


def make(options: Page, place: Place) -> StationView:
    """Makes the sink.

    Raises:
        BadOption: ``old`` is no time.
        MissingPackage: A package of the extra ``station`` is not installed.
    """
    require("cv2", "starlette", "uvicorn", "websockets")
    return StationView(options.port, place.name, old=parse_time(options.old) / 1e9)


class StationView:
    """Hands frames to the page. Its `write` copies and encodes nothing: a page can never hold up the graph.

    Args:
        port: Port of the page; 0 for any.
        name: Name in the graph.
        old: Seconds after which a picture counts as old, see `Page`.
    """

    takes_failed = False

    def __init__(self, port: int, name: str, *, old: float) -> None:
        self.name = name
        self.url = ""
        self._port = port
        self._old = old
        self._painter = Painter(SHARE)
        self._board: Board | None = None

    def attend(self, facts: Facts) -> Callable[[], None]:
        """See `lineside.pipelines.facts.Attending`: the page is up before anything is opened, and stays to the end.

        Raises:
            BadOption: The port cannot be used.
        """
        from lineside.pipelines.view.board import Board
        from lineside.pipelines.view.board_app import make_board_app
        from lineside.pipelines.view.server import PageServer, bind

        listener = bind("127.0.0.1", self._port)
        board = self._board = Board(facts, self._painter, old=self._old)
        server = PageServer(make_board_app(board), listener)

        def close() -> None:
            board.end()
            board.note()
            board.doors.dismiss(GOODBYE)
            server.close()
            self._painter.close()
            for tile in board.tiles:
                tile.hub.close()

        try:
            self._painter.start()
            server.start()
        except BaseException:
            close()
            raise
        self.url = f"http://127.0.0.1:{server.port}/"
        facts.say(f"page: {self.url}")
        return close

    def hear(self, event: Event) -> None:
        """Something happened in the station."""
        if self._board is not None:
            self._board.hear(event)

    def open(self, stream: StreamInfo) -> None:
        """The station starts.

        Raises:
            SinkError: There is no station around it to show.
        """
        if self._board is None:
            raise SinkError(f"{self.name}: this page shows a station, and nobody has introduced one to it")
        self._board.begin()

    def write(self, frame: Frame) -> None:
        """Shows one frame; its pixels are held until a newer one of its camera comes."""
        assert self._board is not None, "the sink is open"
        self._board.take(frame)

    def close(self, missing: int = 0) -> None:
        """The last frame is through; the page stays until the station's other sinks are done, too."""
        if self._board is not None:
            self._board.end()
