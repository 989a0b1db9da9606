"""What every page has in common: bodies that are read with care, pictures and news over a WebSocket, files of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from lineside.pipelines.view.hub import LARGE, Client, Hub, Size
from lineside.runtime.errors import BadOption

__all__ = ["STATIC", "Changes", "SettingsChange", "read_body", "refused", "serve"]

STATIC = Path(__file__).resolve().parent / "static"
LONGEST_BODY = 4096
NEWS_SECONDS = 0.5
"""How often news reach a page while no picture does."""
CROWDED = 1013
"""WebSocket close code: try again later."""
GONE = 1001
"""WebSocket close code: the server goes away."""


class SettingsChange(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a change of settings; what is left out stays as it is. The settings themselves know the ranges."""

    conf: float | msgspec.UnsetType = msgspec.UNSET
    iou: float | msgspec.UnsetType = msgspec.UNSET


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


class Changes:
    """News for one page: what something is now, told once for each change.

    Args:
        look: Gives JSON values.
    """

    def __init__(self, look: Callable[[], Any]) -> None:
        self._look = look
        self._told = b""

    def __call__(self) -> Iterable[str]:
        """The new value as JSON where it has changed."""
        now = msgspec.json.encode(self._look())
        if now != self._told:
            self._told = now
            yield now.decode()


async def serve(socket: WebSocket, hub: Hub, news: Callable[[], Iterable[str]], size: Size = LARGE) -> None:
    """Keeps one page up to date until it leaves: pictures as it acknowledges them, and news between them.

    Args:
        socket: The page's socket, not accepted yet.
        hub: Where pictures come from.
        news: What else there is to say by now; asked about twice a second and after `Hub.announce`.
        size: How the page wants its pictures.
    """
    await socket.accept()
    client = Client(asyncio.get_running_loop(), size)
    if not hub.join(client):
        await socket.close(CROWDED, "too many pages are open")
        return
    sender = asyncio.create_task(_send(socket, client, news))
    try:
        while (message := await socket.receive())["type"] == "websocket.receive":
            word = msgspec.json.decode(message.get("text") or "", type=Acknowledgement)
            hub.acknowledge(client, word.ack)
    except msgspec.DecodeError:
        await socket.close(1003, "only acknowledgements are understood")
    finally:
        hub.leave(client)
        sender.cancel()
        with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
            await sender


async def _send(socket: WebSocket, client: Client, news: Callable[[], Iterable[str]]) -> None:
    while True:
        dismissed = client.dismissed
        for text in news():
            await socket.send_text(text)
        if dismissed:
            await socket.close(GONE, "nothing more will come")
            return
        picture = await client.next(NEWS_SECONDS)
        if picture is not None:
            await socket.send_bytes(picture)
