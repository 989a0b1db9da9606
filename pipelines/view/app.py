"""Routes of the page: static files, settings, bundles, workbook, and the WebSocket."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from lineside.pipelines.sinks.steady import SteadyFile
from lineside.pipelines.view.desk import Desk
from lineside.pipelines.view.guard import Guard
from lineside.pipelines.view.hub import Client, Hub
from lineside.pipelines.view.workbook import write_workbook
from lineside.runtime.errors import BadOption

__all__ = ["make_app"]

STATIC = Path(__file__).resolve().parent / "static"
LONGEST_BODY = 4096
STATE_SECONDS = 0.5
"""How often counters reach a page while no picture does."""
CHUNK = 1 << 16
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class SettingsChange(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``PATCH /api/settings``; what is left out stays as it is. The settings themselves know the ranges."""

    conf: float | msgspec.UnsetType = msgspec.UNSET
    iou: float | msgspec.UnsetType = msgspec.UNSET


class BundleChoice(msgspec.Struct, forbid_unknown_fields=True):
    """Body of ``POST /api/bundle``."""

    id: str


class Acknowledgement(msgspec.Struct, forbid_unknown_fields=True):
    """What a page sends: the version of the picture that it has drawn."""

    ack: int


Body = TypeVar("Body")


def refused(status: int, sentence: str) -> JSONResponse:
    """An answer that says why."""
    return JSONResponse({"error": sentence}, status)


async def read_body(request: Request, kind: type[Body]) -> Body:
    """The request's JSON body as `kind`.

    Raises:
        BadOption: It is too long, no JSON, or not of that kind.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_BODY:
            raise BadOption(f"The request is longer than {LONGEST_BODY} bytes.")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise BadOption(f"The request cannot be used: {error}.") from error


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
        await socket.accept()
        self._desk.shelf.look()
        client = Client(asyncio.get_running_loop())
        self._hub.join(client)
        sender = asyncio.create_task(self._send(socket, client))
        try:
            while (message := await socket.receive())["type"] == "websocket.receive":
                word = msgspec.json.decode(message.get("text") or "", type=Acknowledgement)
                self._hub.acknowledge(client, word.ack)
        except msgspec.DecodeError:
            await socket.close(1003, "only acknowledgements are understood")
        finally:
            self._hub.leave(client)
            sender.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await sender

    async def _send(self, socket: WebSocket, client: Client) -> None:
        told = b""
        while True:
            state = msgspec.json.encode(self._desk.state())
            if state != told:
                await socket.send_text(state.decode())
                told = state
            picture = await client.next(STATE_SECONDS)
            if picture is not None:
                await socket.send_bytes(picture)


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
