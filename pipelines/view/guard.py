"""Keeps the page to the machine it runs on: host and origin checks, and the headers of every answer.

A page on loopback is reachable by every web site open in the same browser, so being on 127.0.0.1 is not protection
enough. Three doors are shut here: a foreign name that resolves to loopback (DNS rebinding) fails the ``Host`` check, a
foreign site that writes or opens the WebSocket fails the ``Origin`` check, and the page itself may load nothing from
anywhere else (CSP).
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["LOOPBACK_NAMES", "Guard"]

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost"})
"""Names that a browser on this machine, or one behind an SSH tunnel, uses for the page."""

READS = frozenset({"GET", "HEAD"})

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; "
        "frame-ancestors 'none'; form-action 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def host_is_ours(host: str) -> bool:
    """Whether a ``Host`` header names loopback; the port is free, since a tunnel may change it."""
    name, _, port = host.partition(":")
    return name.lower() in LOOPBACK_NAMES and (not port or port.isdigit())


def origin_is_ours(origin: str, host: str) -> bool:
    """Whether an ``Origin`` header is exactly the page that this server served under `host`."""
    return origin.lower() == f"http://{host.lower()}"


class Guard:
    """ASGI middleware that refuses strangers and adds the security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it: 421 wrong host, 403 wrong origin (for a WebSocket 403 both times)."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            if refusal is None:
                await self.app(scope, receive, send)
            else:
                await receive()  # websocket.connect; closing before accepting answers 403
                await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if refusal is None:
            await self.app(scope, receive, send_guarded)
        else:
            await JSONResponse({"error": refusal[1]}, refusal[0])(scope, receive, send_guarded)

    @staticmethod
    def _refusal(scope: Scope) -> tuple[int, str] | None:
        """Status and sentence of why a request is refused, or None where it is welcome."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not host_is_ours(host):
            return 421, "This page answers to localhost and 127.0.0.1 only; open it under one of those names."
        writes = scope["type"] == "websocket" or scope["method"] not in READS
        if writes and not origin_is_ours(headers.get("origin", ""), host):
            return 403, "Only the page itself may change things: the request's Origin is not this page's."
        return None
