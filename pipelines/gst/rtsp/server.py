"""An RTSP server in this process: a socket, a thread of its own, and under each path pictures that begin on demand."""

from __future__ import annotations

import threading
import time
from ctypes import POINTER, byref, c_void_p, cast

from lineside.pipelines.gst.bounded import Errand
from lineside.pipelines.gst.library import library
from lineside.pipelines.gst.rtsp.calls import Guests, Mount, Shown, calls, enter, leave
from lineside.pipelines.gst.rtsp.library import rtsp_library
from lineside.pipelines.gst.structs import GError
from lineside.runtime.errors import SinkError

__all__ = ["Login", "Server"]

_ROLE = "watcher"
_DIGEST = 2
"""``GST_RTSP_AUTH_DIGEST``: the password itself never travels."""
_UDP, _TCP = 1, 4
"""``GST_RTSP_LOWER_TRANS_UDP``, ``GST_RTSP_LOWER_TRANS_TCP``."""
_THREADS = 4
"""Threads that talk with clients. With one, a client that has to be waited for would keep the others waiting."""
_LOOK = 0.01
_SPARE = 32
"""Connections beside those that watch: of players that only ask, and of those that went away without a word, for which
the library waits a minute. More are closed at once, so that nobody takes the descriptors that a station needs."""


class Login:
    """Who may watch.

    Args:
        user: User name.
        password: Password.
    """

    __slots__ = ("password", "user")

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self.password = password

    def __repr__(self) -> str:
        """Without the credentials."""
        return "Login()"


class Server:
    """Serves pictures to who asks for them.

    Args:
        address: Address of this machine to listen at.
        port: Port; 0 takes any that is free.
        watchers: How many may watch at once.
        login: Who may watch; None for all who reach it.
        name: Name of its threads.

    Attributes:
        port: The port that it listens at.

    Raises:
        MissingPackage: GStreamer or its RTSP server is not installed.
        SinkError: It cannot listen there.
    """

    def __init__(self, address: str, port: int, *, watchers: int, login: Login | None, name: str) -> None:
        self._gst, self._rtsp = library(), rtsp_library()
        self._name = name
        self._login = login
        self._guests = Guests(watchers + _SPARE)
        self._mounts: list[Mount] = []
        self._keys = [enter(self._guests)]
        self._ended = False
        rtsp = self._rtsp
        self._server = rtsp.gst_rtsp_server_new()
        rtsp.gst_rtsp_server_set_address(self._server, address.encode())
        rtsp.gst_rtsp_server_set_service(self._server, str(port).encode())
        self._sessions = rtsp.gst_rtsp_server_get_session_pool(self._server)
        rtsp.gst_rtsp_session_pool_set_max_sessions(self._sessions, watchers)
        threads = rtsp.gst_rtsp_server_get_thread_pool(self._server)
        rtsp.gst_rtsp_thread_pool_set_max_threads(threads, _THREADS)
        self._gst.g_object_unref(threads)
        self._gst.g_signal_connect_data(self._server, b"client-connected", calls().connected, self._keys[0], None, 0)
        if login is not None:
            self._protect(login)
        try:
            self._source = self._listening(address, port)
        except SinkError:
            self._forget()
            raise
        self.port = int(rtsp.gst_rtsp_server_get_bound_port(self._server))
        self._run()

    def _protect(self, login: Login) -> None:
        """Lets in who knows the password."""
        gst, rtsp = self._gst, self._rtsp
        auth, token = rtsp.gst_rtsp_auth_new(), rtsp.gst_rtsp_token_new_empty()
        rtsp.gst_rtsp_token_set_string(token, b"media.factory.role", _ROLE.encode())
        rtsp.gst_rtsp_auth_set_supported_methods(auth, _DIGEST)
        rtsp.gst_rtsp_auth_add_digest(auth, login.user.encode(), login.password.encode(), token)
        rtsp.gst_rtsp_server_set_auth(self._server, auth)
        gst.gst_mini_object_unref(token)
        gst.g_object_unref(auth)

    def _listening(self, address: str, port: int) -> int:
        """The server's socket, as what a main loop looks at."""
        error = POINTER(GError)()
        source = self._rtsp.gst_rtsp_server_create_source(self._server, None, byref(error))
        if source:
            return int(source)
        reason = "it gives no reason"
        if error:
            reason = (error.contents.message or b"").decode(errors="replace")
            self._gst.g_error_free(cast(error, c_void_p))
        raise SinkError(
            f"cannot serve pictures at port {port} of {address}: {reason}; choose another address or port, or port=0 for "
            "any that is free"
        )

    def _run(self) -> None:
        """Starts the thread of the main loop, which accepts clients."""
        rtsp = self._rtsp
        self._context = rtsp.g_main_context_new()
        self._loop = loop = rtsp.g_main_loop_new(self._context, 0)
        rtsp.g_source_attach(self._source, self._context)
        self._thread = threading.Thread(
            target=lambda: rtsp.g_main_loop_run(loop), name=f"rtsp-server {self._name}", daemon=True
        )
        self._thread.start()

    def mount(self, path: str, description: str, shown: Shown) -> None:
        """Adds a path; any number of clients share what is made for it.

        Args:
            path: Path, beginning with a slash.
            description: What is made when somebody begins to watch, see `serving`.
            shown: Who gives the pictures.
        """
        gst, rtsp = self._gst, self._rtsp
        factory = rtsp.gst_rtsp_media_factory_new()
        rtsp.gst_rtsp_media_factory_set_launch(factory, description.encode())
        rtsp.gst_rtsp_media_factory_set_shared(factory, 1)
        # Not to a group address: whoever asks for that would have this machine send to all.
        rtsp.gst_rtsp_media_factory_set_protocols(factory, _UDP | _TCP)
        if self._login is not None:
            allowed = f"{_ROLE}, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
            role = rtsp.gst_structure_from_string(allowed.encode(), None)
            rtsp.gst_rtsp_media_factory_add_role_from_structure(factory, role)
            rtsp.gst_structure_free(role)
        self._mounts.append(Mount(shown))
        self._keys.append(enter(self._mounts[-1]))
        gst.g_signal_connect_data(factory, b"media-configure", calls().configure, self._keys[-1], None, 0)
        mounts = rtsp.gst_rtsp_server_get_mount_points(self._server)
        rtsp.gst_rtsp_mount_points_add_factory(mounts, path.encode(), factory)  # which takes the factory
        gst.g_object_unref(mounts)

    def tidy(self) -> None:
        """Ends the sessions of clients that have not been heard of for a minute. To be called now and then."""
        self._rtsp.gst_rtsp_session_pool_cleanup(self._sessions)

    def stop(self, seconds: float) -> bool:
        """Sends every client away and closes the socket, for good.

        Args:
            seconds: Wait so long. What hangs is left behind with a thread that waits for it.

        Returns:
            Whether it has ended.
        """
        until = time.monotonic() + seconds
        errand = Errand(lambda: self._end(until), f"rtsp-server {self._name} stop")
        return errand.wait(seconds) and self._ended

    def _end(self, until: float) -> None:
        rtsp, remove = self._rtsp, calls().remove
        rtsp.g_source_destroy(self._source)
        self._guests.dismiss()
        patience = (until + time.monotonic()) / 2
        while self._guests and time.monotonic() < patience:
            time.sleep(_LOOK)
        rtsp.gst_rtsp_server_client_filter(self._server, remove, None)  # who hangs
        rtsp.gst_rtsp_session_pool_filter(self._sessions, remove, None)
        while any(mount.media for mount in self._mounts):  # their pipelines end in threads of the library
            if time.monotonic() > until:
                return
            time.sleep(_LOOK)
        rtsp.g_main_loop_quit(self._loop)
        self._thread.join()
        rtsp.g_source_unref(self._source)
        rtsp.g_main_loop_unref(self._loop)
        rtsp.g_main_context_unref(self._context)
        self._forget()
        self._ended = True

    def _forget(self) -> None:
        for key in self._keys:
            leave(key)
        self._guests.forget()
        self._gst.g_object_unref(self._sessions)
        self._gst.g_object_unref(self._server)
