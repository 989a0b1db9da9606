"""Routes of the page: static files, settings, bundles, workbook, and the WebSocket."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from typing import IO

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from lineside.pipelines.sinks.steady import SteadyFile
from lineside.pipelines.view.desk import Desk
from lineside.pipelines.view.guard import Guard
from lineside.pipelines.view.hub import Hub
from lineside.pipelines.view.wire import STATIC, Changes, SettingsChange, read_body, refused, serve
from lineside.pipelines.view.workbook import write_workbook
from lineside.runtime.errors import BadOption

__all__ = ["make_app"]

CHUNK = 1 << 16
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class BundleChoice(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /api/bundle``."""

    id: str


class Routes:
    """The handlers, around one desk and one hub."""

    def __init__(self, desk: Desk, hub: Hub) -> None:
        self._desk = desk
        self._hub = hub

    async def page(self, request: Request) -> Response:
        """``GET /``."""
        return FileResponse(STATIC / "index.html")

    async def state(self, request: Request) -> Response:
        """``GET /api/state``: what the page shows beside the picture."""
        return JSONResponse(self._desk.state())

    async def settings(self, request: Request) -> Response:
        """``GET`` and ``PATCH /api/settings``: the thresholds in force; 422 where a value is out of range."""
        if request.method != "PATCH":
            return JSONResponse(self._desk.thresholds())
        try:
            change = await read_body(request, SettingsChange)
            return JSONResponse(self._desk.change(**msgspec.to_builtins(change)))
        except BadOption as error:
            return refused(422, str(error))

    async def bundle(self, request: Request) -> Response:
        """``POST /api/bundle``: 202, the bundle is being loaded; 422 where there is none with that id."""
        try:
            choice = await read_body(request, BundleChoice)
            self._desk.choose(choice.id)
        except BadOption as error:
            return refused(422, str(error))
        return JSONResponse(self._desk.state(), 202)

    async def workbook(self, request: Request) -> Response:
        """``GET /api/results.xlsx``: the results so far."""
        try:
            book = await run_in_threadpool(self._write_workbook)
        except OSError as error:
            reason = error.strerror or str(error)
            return refused(507, f"The workbook cannot be made in {tempfile.gettempdir()}: {reason}. Free some space.")
        headers = {"content-disposition": 'attachment; filename="lineside-results.xlsx"'}
        return StreamingResponse(chunks(book), media_type=XLSX, headers=headers)

    def _write_workbook(self) -> IO[bytes]:
        book = tempfile.TemporaryFile(prefix="lineside-")  # noqa: SIM115 - the answer closes it
        try:
            with SteadyFile(os.dup(book.fileno()), "r+b") as target:
                write_workbook(self._desk.log.rows(), self._desk.report(), target)
            if target.failure is not None:
                raise target.failure
        except BaseException:
            book.close()
            raise
        book.seek(0)
        return book

    async def pictures(self, socket: WebSocket) -> None:
        """``/ws``: pictures and states to the page, acknowledgements from it."""
        self._desk.shelf.look()
        await serve(socket, self._hub, Changes(self._desk.state))


async def chunks(book: IO[bytes]) -> AsyncIterator[bytes]:
    """The content of a file, which is closed at the end."""
    with book:
        while chunk := await run_in_threadpool(book.read, CHUNK):
            yield chunk


def make_app(desk: Desk, hub: Hub) -> Starlette:
    """The page as an ASGI application, behind its guard."""
    routes = Routes(desk, hub)
    return Starlette(
        routes=[
            Route("/", routes.page),
            Route("/api/state", routes.state),
            Route("/api/settings", routes.settings, methods=["GET", "PATCH"]),
            Route("/api/bundle", routes.bundle, methods=["POST"]),
            Route("/api/results.xlsx", routes.workbook),
            WebSocketRoute("/ws", routes.pictures),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Guard)],
    )
