"""Routes of a station's page: static files, state, settings of each model, and the WebSockets.

Each branch has a WebSocket of its own for its pictures (``/ws/NUMBER``), so that a page watches exactly those that it
shows, one that is slow in drawing one camera loses pictures of that camera only, and there is one protocol for the page
of a run and that of a station. What is said about all branches travels once, over ``/ws``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from lineside.pipelines.view.board import Board
from lineside.pipelines.view.guard import Guard
from lineside.pipelines.view.hub import LARGE, SMALL
from lineside.pipelines.view.wire import STATIC, Changes, SettingsChange, read_body, refused, serve
from lineside.runtime.errors import BadOption

__all__ = ["make_board_app"]

SETTLED = 1.0
"""Seconds after the last move of a slider until the change becomes an event."""


class BoardRoutes:
    """The handlers, around one board."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._noting: asyncio.TimerHandle | None = None

    async def page(self, request: Request) -> Response:
        """``GET /``."""
        return FileResponse(STATIC / "station.html")

    async def station(self, request: Request) -> Response:
        """``GET /api/station``: states, counters, settings and events."""
        return JSONResponse({**self._board.state(), "events": self._board.events()})

    async def settings(self, request: Request) -> Response:
        """``GET`` and ``PATCH /api/models/NUMBER``: a model's thresholds; 404 no such model, 422 out of range."""
        number = _number(request.path_params["number"])
        now = self._board.settings(number)
        if now is None:
            return refused(404, "There is no model with that number; load the page again to see those there are.")
        if request.method != "PATCH":
            return JSONResponse(now)
        try:
            change = await read_body(request, SettingsChange)
            now = self._board.change(number, **msgspec.to_builtins(change))
        except BadOption as error:
            return refused(422, str(error))
        if self._noting is not None:
            self._noting.cancel()
        self._noting = asyncio.get_running_loop().call_later(SETTLED, self._board.note)
        return JSONResponse(now)

    async def news(self, socket: WebSocket) -> None:
        """``/ws``: states and events to the page."""
        state = Changes(lambda: {"type": "station", **self._board.state()})
        events = Changes(lambda: {"type": "events", "events": self._board.events()})

        def news() -> Iterable[str]:
            yield from state()
            yield from events()

        await serve(socket, self._board.doors, news)

    async def pictures(self, socket: WebSocket) -> None:
        """``/ws/NUMBER``: pictures of one branch to the page, acknowledgements from it; ``?size=small`` for a tile."""
        number = _number(socket.path_params["number"])
        if not 0 <= number < len(self._board.tiles):
            await socket.close(1008, "there is no such camera")
            return
        size = SMALL if socket.query_params.get("size") == "small" else LARGE
        await serve(socket, self._board.tiles[number].hub, tuple, size)


def _number(text: str) -> int:
    """A number in an address; -1 for anything else, of which whoever wrote it may have made a lot."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else -1


def make_board_app(board: Board) -> Starlette:
    """The page of a station as an ASGI application, behind its guard."""
    routes = BoardRoutes(board)
    return Starlette(
        routes=[
            Route("/", routes.page),
            Route("/api/station", routes.station),
            Route("/api/models/{number}", routes.settings, methods=["GET", "PATCH"]),
            WebSocketRoute("/ws", routes.news),
            WebSocketRoute("/ws/{number}", routes.pictures),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Guard)],
    )
