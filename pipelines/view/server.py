"""uvicorn in a thread of its own, with a bounded start and a bounded end."""

from __future__ import annotations

import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from lineside.runtime.errors import BadOption, LinesideError

__all__ = ["PageServer"]

LOOPBACK = "127.0.0.1"


class AnnouncedServer(uvicorn.Server):
    """A uvicorn server that says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts as uvicorn does, then sets `up`."""
        await super().startup(sockets)
        self.up.set()


def bind(host: str, port: int) -> socket.socket:
    """A listening-to-be socket on loopback.

    Args:
        host: Only 127.0.0.1 or localhost.
        port: 0 for any free one.

    Raises:
        BadOption: Another address, a port outside 0 to 65535, or one already taken.
    """
    if host not in (LOOPBACK, "localhost"):
        raise BadOption(
            f"The page cannot be opened on {host}: it has no login, so it stays on {LOOPBACK}. "
            f"To look from another machine, forward the port: ssh -L PORT:{LOOPBACK}:PORT user@this-machine."
        )
    if not 0 <= port <= 65535:
        raise BadOption(f"The page's port is {port}, outside 0 to 65535. Choose a free port, or 0 for any.")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        raise BadOption(
            f"The page's port {port} cannot be used ({error.strerror}): another program may hold it. "
            "Choose another, or 0 for any free one."
        ) from error
    return listener


class PageServer:
    """Serves an ASGI application on loopback from a thread of its own.

    Args:
        app: What to serve.
        listener: A bound socket, from `bind`; closed with the server.
    """

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self._listener = listener
        self.port: int = listener.getsockname()[1]
        config = uvicorn.Config(
            app,
            ws_max_size=4096,  # a page sends acknowledgements only
            ws_per_message_deflate=False,  # JPEG does not shrink further
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
            lifespan="off",
        )
        self._server = AnnouncedServer(config)
        self._thread = threading.Thread(target=self._serve, name="lineside-view-server", daemon=True)

    def start(self, timeout: float = 10.0) -> None:
        """Starts serving and returns once requests are answered.

        Raises:
            LinesideError: The server did not come up.
        """
        self._thread.start()
        if not self._server.up.wait(timeout):
            self.close()
            raise LinesideError(f"The page did not start within {timeout:.0f} s. Run without it, or try again.")

    def close(self, timeout: float = 5.0) -> None:
        """Ends every connection and stops, waiting no longer than `timeout` seconds."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._listener.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._listener])
